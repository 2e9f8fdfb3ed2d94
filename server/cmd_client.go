package server

var clientCommands = []serverCommand{}
