package server

import "sync"

// workers run what may wait for the disk or take long, away from the event loops.
type workers struct {
	places  chan struct{}
	joined  sync.WaitGroup
	stopped chan struct{} // closed when the server ends: jobs of many steps stop at the next
}

// workerPlaces is how many jobs run at a time; the others wait.
const workerPlaces = 64

func newWorkers() *workers {
	return &workers{places: make(chan struct{}, workerPlaces), stopped: make(chan struct{})}
}

func (w *workers) run(job func()) {
	w.joined.Go(func() {
		w.places <- struct{}{}
		defer func() { <-w.places }()
		job()
	})
}

// ending says that the server ends.
func (w *workers) ending() bool {
	select {
	case <-w.stopped:
		return true
	default:
		return false
	}
}

// close waits for all jobs.
func (w *workers) close() {
	close(w.stopped)
	w.joined.Wait()
}
