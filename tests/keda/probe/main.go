// Command probe asks an external scaler through KEDA's own client, the code
// that runs in KEDA's operator, and prints what that made of the answers: one
// JSON object a line.
//
//	probe -address HOST:PORT -metadata JSON [-ca FILE] spec|metrics|watch
//	probe manifest
//	probe formulas
//
// spec is what KEDA writes into the HPA it makes, metrics what it answers that
// HPA and goes to and from zero by, watch what a push trigger hears until
// standard input ends. manifest holds a ScaledObject from standard input
// against KEDA's own types and checks, and prints it as KEDA understands it.
// formulas reads cases from standard input, one JSON object a line, and prints
// for each what KEDA makes of its scalingModifiers: see formulas.go.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/go-logr/logr"
	kedav1alpha1 "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	"github.com/kedacore/keda/v2/pkg/scalers"
	"github.com/kedacore/keda/v2/pkg/scalers/scalersconfig"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"
)

type value struct {
	Name  string `json:"name"`
	Milli int64  `json:"milli"`
}

func main() {
	address := flag.String("address", "", "HOST:PORT of the scaler")
	metadata := flag.String("metadata", "{}", "metadata of the trigger, a JSON object of strings")
	authority := flag.String("ca", "", "PEM file of the authority that signed the scaler's certificate")
	namespace := flag.String("namespace", "default", "namespace of the ScaledObject")
	index := flag.Int("index", 0, "which trigger of the ScaledObject it is")
	flag.Parse()
	log.SetLogger(logr.Discard())

	config := &scalersconfig.ScalerConfig{
		ScalableObjectName:      "probe",
		ScalableObjectNamespace: *namespace,
		ScalableObjectType:      "ScaledObject",
		TriggerIndex:            *index,
		TriggerMetadata:         map[string]string{},
		AuthParams:              map[string]string{},
		GlobalHTTPTimeout:       5 * time.Second,
	}
	check(json.Unmarshal([]byte(*metadata), &config.TriggerMetadata))
	config.TriggerMetadata["scalerAddress"] = *address
	if *authority != "" {
		pem, err := os.ReadFile(*authority)
		check(err)
		config.AuthParams["caCert"] = string(pem)
		config.TriggerMetadata["enableTLS"] = "true"
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// A scaler that does not answer must not hold up the suite.
	soon, done := context.WithTimeout(ctx, 10*time.Second)
	defer done()
	switch flag.Arg(0) {
	case "manifest":
		text, err := io.ReadAll(os.Stdin)
		check(err)
		object := &kedav1alpha1.ScaledObject{}
		check(yaml.UnmarshalStrict(text, object))
		check(kedav1alpha1.ValidateTriggers(object.Spec.Triggers))
		check(kedav1alpha1.CheckReplicaCountBoundsAreValid(object))
		check(kedav1alpha1.CheckFallbackValid(object))
		tell(object)
	case "formulas":
		formulas(os.Stdin)
	case "spec":
		scaler, err := scalers.NewExternalScaler(config)
		check(err)
		tell(scaler.GetMetricSpecForScaling(soon))
	case "metrics":
		scaler, err := scalers.NewExternalScaler(config)
		check(err)
		name := fmt.Sprintf("s%d-wva_desired_replicas", *index)
		metrics, active, err := scaler.GetMetricsAndActivity(soon, name)
		values := make([]value, 0, len(metrics))
		for _, metric := range metrics {
			values = append(values, value{metric.MetricName, metric.Value.MilliValue()})
		}
		answer := map[string]any{"values": values, "active": active}
		if err != nil {
			answer["error"] = err.Error()
		}
		tell(answer)
	case "watch":
		scaler, err := scalers.NewExternalPushScaler(config)
		check(err)
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
		pushed := make(chan bool)
		go scaler.Run(ctx, pushed)
		for active := range pushed {
			tell(map[string]bool{"active": active})
		}
	default:
		check(fmt.Errorf("say spec, metrics, watch, manifest or formulas"))
	}
}

func tell(what any) {
	line, err := json.Marshal(what)
	check(err)
	fmt.Println(string(line))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(2)
	}
}
