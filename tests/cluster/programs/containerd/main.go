// containerd and its command ctr as the tests start them: upstream's own, unchanged. The first argument says which.
package main

import (
	"fmt"
	"os"

	_ "github.com/containerd/containerd/v2/cmd/containerd/builtins"
	"github.com/containerd/containerd/v2/cmd/containerd/command"
	ctr "github.com/containerd/containerd/v2/cmd/ctr/app"
	"github.com/urfave/cli/v2"
)

func main() {
	programs := map[string]func() *cli.App{"containerd": command.App, "ctr": ctr.New}
	if len(os.Args) < 2 || programs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "name one: containerd, ctr")
		os.Exit(2)
	}
	if err := programs[os.Args[1]]().Run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", os.Args[1], err)
		os.Exit(1)
	}
}
