package server

var debugCommands = []serverCommand{}
