package history

import "context"

// Sample does what the loop does every ten seconds.
func (k *Keeper) Sample(ctx context.Context) error {
	k.sample()
	return k.write(ctx)
}

// Quantile is quantile.
var Quantile = quantile
