package main

import "context"

func (b *bench) search(ctx context.Context) error { return nil }
