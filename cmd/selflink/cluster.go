package main

import (
	"context"
	"fmt"

	"selflink/appliance/broker"
)

// clusterVerb is "selflink cluster".
func clusterVerb(ctx context.Context, p *program, args []string) error {
	return p.sub(ctx, "cluster", args, []verb{
		{"token", "make the secret that the nodes of a new cluster share", clusterToken},
	})
}

// clusterToken prints a new token. It is kept nowhere.
func clusterToken(_ context.Context, p *program, args []string) error {
	o := p.newOptions("cluster token [options]", "Prints a new random CLUSTER_TOKEN, which is kept nowhere. Give it to every node of\na cluster, in the environment, the env file, or a file named in CLUSTER_TOKEN_FILE.")
	if err := o.parse(args); err != nil {
		return err
	}
	token, err := broker.NewToken()
	if err != nil {
		return err
	}
	if o.json {
		return p.printJSON(map[string]string{"token": token})
	}
	_, err = fmt.Fprintln(p.stdout, token)
	return err
}
