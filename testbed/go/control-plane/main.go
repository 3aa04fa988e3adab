// The control plane of the testbed as one program: the first argument says which part to be.
//
// One binary has one link step and one copy of what the parts share: it builds in half the time of five.
// KWOK and LeaderWorkerSet are commands of their own modules and are built beside it (the tool lines of go.mod).
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"

	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

var parts = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubectl":                 kubectl.NewDefaultKubectlCommand,
}

func main() {
	// Called through a link named like a part, it is that part; otherwise the first argument names it.
	if name := filepath.Base(os.Args[0]); parts[name] != nil || name == "etcd" {
		os.Args[0] = name
	} else if len(os.Args) > 1 {
		os.Args = os.Args[1:]
	}
	name := os.Args[0]
	if name == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	make, known := parts[name]
	if !known {
		fmt.Fprintf(os.Stderr, "%s: not a part of the control plane (%s); Kubernetes %s\n",
			name, strings.Join([]string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"}, ", "),
			version.Get().GitVersion)
		os.Exit(2)
	}
	os.Exit(cli.Run(make()))
}
