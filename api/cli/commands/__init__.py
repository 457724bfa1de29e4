"""One file per service; each offers `register(app)`. Found by folder, so a new file is a new command."""
