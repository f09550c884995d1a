package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"github.com/go-logr/logr/funcr"
	kedav1alpha1 "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	"github.com/kedacore/keda/v2/pkg/scaling/cache"
	"github.com/kedacore/keda/v2/pkg/scaling/modifiers"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/metrics/pkg/apis/external_metrics"
)

// formulaCase is one formula over triggers a poll has asked.
type formulaCase struct {
	Formula string `json:"formula"`
	Target  string `json:"target"`
	// Triggers in their order. One without a value has failed more often than
	// the fallback allows.
	Triggers []struct {
		Name  string `json:"name"`
		Milli *int64 `json:"milli"`
	} `json:"triggers"`
	// Replicas of a fallback that leaves failures to the formula, if there is one.
	FallbackReplicas *int32 `json:"fallbackReplicas"`
}

// formulaAnswer says why the ScaledObject is refused, or why the formula could
// not be applied, or its value in thousandths.
type formulaAnswer struct {
	Refused string `json:"refused,omitempty"`
	Error   string `json:"error,omitempty"`
	Milli   *int64 `json:"milli,omitempty"`
}

func formulas(input io.Reader) {
	lines := bufio.NewScanner(input)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var one formulaCase
		check(json.Unmarshal(lines.Bytes(), &one))
		tell(one.answer())
	}
	check(lines.Err())
}

func (one formulaCase) answer() formulaAnswer {
	object := &kedav1alpha1.ScaledObject{}
	object.Spec.Advanced = &kedav1alpha1.AdvancedConfig{ScalingModifiers: kedav1alpha1.ScalingModifiers{
		Formula: one.Formula,
		Target:  one.Target,
	}}
	if one.FallbackReplicas != nil {
		object.Spec.Fallback = &kedav1alpha1.Fallback{
			FailureThreshold: 3,
			Replicas:         *one.FallbackReplicas,
			Behavior:         kedav1alpha1.FallbackBehaviorScalingModifiers,
		}
	}
	object.Status.Health = map[string]kedav1alpha1.HealthStatus{}
	pairs := map[string]string{}
	var metrics []external_metrics.ExternalMetricValue
	for i, trigger := range one.Triggers {
		object.Spec.Triggers = append(object.Spec.Triggers, kedav1alpha1.ScaleTriggers{Type: "external", Name: trigger.Name})
		metric := fmt.Sprintf("s%d-%s", i, trigger.Name)
		pairs[metric] = trigger.Name
		milli, failures := int64(-1000), int32(4)
		if trigger.Milli != nil {
			milli, failures = *trigger.Milli, 0
		}
		object.Status.Health[metric] = kedav1alpha1.HealthStatus{NumberOfFailures: &failures}
		metrics = append(metrics, external_metrics.ExternalMetricValue{
			MetricName: metric,
			Value:      *resource.NewMilliQuantity(milli, resource.DecimalSI),
		})
	}
	compiled, err := kedav1alpha1.ValidateAndCompileScalingModifiers(object)
	if err != nil {
		return formulaAnswer{Refused: err.Error()}
	}
	// KEDA only logs why a formula could not be applied, and answers nothing.
	why := "no metric"
	log := funcr.New(func(_, args string) { why = args }, funcr.Options{})
	scalers := &cache.ScalersCache{CompiledFormula: compiled}
	composed := modifiers.HandleScalingModifiers(object, metrics, pairs, false, nil, scalers, log)
	if len(composed) != 1 {
		return formulaAnswer{Error: why}
	}
	milli := composed[0].Value.MilliValue()
	return formulaAnswer{Milli: &milli}
}
