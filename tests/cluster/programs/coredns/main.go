// CoreDNS with the plugins that a cluster's names take, and none of the others: those of clouds weigh most of it.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() {
	// In the order in which a question passes them, as upstream's plugin.cfg has it.
	dnsserver.Directives = []string{"ready", "health", "errors", "log", "loadbalance", "cache", "hosts", "kubernetes"}
	coremain.Run()
}
