package nodes

import "os/exec"

// Spawn starts the process as its Start does, and has the system kill it should this program die before it could.
func Spawn(cmd *exec.Cmd) error { return SpawnWithin(cmd, nil) }

// SpawnWithin is Spawn with something around it, on the thread that starts the process; nil: nothing.
func SpawnWithin(cmd *exec.Cmd, around func(start func() error) error) error {
	tieToUs(cmd)
	if around == nil {
		return onStarter(cmd.Start)
	}
	return onStarter(func() error { return around(cmd.Start) })
}
