// LinkService
