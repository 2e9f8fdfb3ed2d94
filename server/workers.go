package server

import "sync"

// workers run what may wait for the disk or take long, away from the event loops.
type workers struct {
	places chan struct{}
	joined sync.WaitGroup
}

// workerPlaces is how many jobs run at a time; the others wait.
const workerPlaces = 64

func newWorkers() *workers { return &workers{places: make(chan struct{}, workerPlaces)} }

func (w *workers) run(job func()) {
	w.joined.Go(func() {
		w.places <- struct{}{}
		defer func() { <-w.places }()
		job()
	})
}

func (w *workers) wait() { w.joined.Wait() }
