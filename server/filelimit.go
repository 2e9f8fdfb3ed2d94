package server

import (
	"fmt"
	"strconv"

	"github.com/larder-db/larder/server/config"
)

// reservedFiles is how many file descriptors are kept from clients: the store's tables, the log, listeners.
const reservedFiles = 1100

// fitClients makes room for maxclients among the file descriptors that this process may have. Where the system does not
// allow so many, fewer clients are: it returns how many.
func fitClients(maxclients int64) (fit int64, err error) {
	limit, err := raiseFileLimit(uint64(maxclients) + reservedFiles)
	if err != nil {
		return maxclients, fmt.Errorf("the limit of open files cannot be read: %w", err)
	}
	if limit >= uint64(maxclients)+reservedFiles {
		return maxclients, nil
	}
	return max(int64(limit)-reservedFiles, 1), nil
}

// fitMaxClients lowers maxclients at the start to what the system allows.
func (srv *Server) fitMaxClients() error {
	wanted := srv.config.Load().MaxClients
	fit, err := fitClients(wanted)
	if err != nil {
		srv.log.Warn("maxclients is taken as it is", "error", err)
		return nil
	}
	if fit == wanted {
		return nil
	}
	srv.log.Warn("the system does not allow as many open files as maxclients needs: fewer clients will be served; raise the limit (ulimit -n, LimitNOFILE=) or lower maxclients",
		"maxclients", wanted, "served", fit, "files_needed", wanted+reservedFiles)
	return srv.config.Set([]config.Pair{{Name: "maxclients", Value: strconv.FormatInt(fit, 10)}}, true)
}

// checkMaxClients refuses more clients than the system allows.
func checkMaxClients(wanted int64) error {
	fit, err := fitClients(wanted)
	if err != nil || fit == wanted {
		return nil // what cannot be read is not known to be too low
	}
	//lint:ignore ST1005 Redis's words
	return fmt.Errorf("The operating system is not able to handle the specified number of clients, try with %d", fit)
}
