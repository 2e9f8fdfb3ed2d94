package server

var adminCommands = []serverCommand{}
