module signerd-example-worker

go 1.22
