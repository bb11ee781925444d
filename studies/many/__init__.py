"""Many small trainings at once on one GPU: a search that two cores can't do."""
