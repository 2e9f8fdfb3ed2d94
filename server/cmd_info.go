package server

var infoCommands = []serverCommand{}
