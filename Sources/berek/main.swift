print("berek")
