// TimeTaggers
