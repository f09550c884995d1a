// Makes ../types.json.gz and ../messages.txt.gz, the two tables that the API
// server embeds, from a running kube-apiserver and the published Go types:
//
//	go run . -server https://127.0.0.1:6443 -token TOKEN -out ..
//
// types.json.gz: the OpenAPI definitions of the served groups without their
// descriptions, plus x-emit (how Go writes the field when it is empty: "o" left
// out, "s" a struct that is always there, "z" always with its zero value), and
// the resources with their verbs.
// messages.txt.gz: for every Go type its protobuf fields, one a line.
package main

import (
	"compress/gzip"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/kubernetes/scheme"
)

var groups = []string{
	"api/v1", "apis/apps/v1", "apis/batch/v1", "apis/autoscaling/v1", "apis/autoscaling/v2", "apis/coordination.k8s.io/v1",
	"apis/discovery.k8s.io/v1", "apis/events.k8s.io/v1", "apis/policy/v1", "apis/rbac.authorization.k8s.io/v1",
	"apis/scheduling.k8s.io/v1", "apis/networking.k8s.io/v1", "apis/storage.k8s.io/v1", "apis/node.k8s.io/v1",
	"apis/apiextensions.k8s.io/v1", "apis/admissionregistration.k8s.io/v1", "apis/authentication.k8s.io/v1",
	"apis/authorization.k8s.io/v1",
}

type object = map[string]any

var server, token string

func main() {
	out := flag.String("out", "..", "folder for the two tables")
	flag.StringVar(&server, "server", "", "address of a kube-apiserver")
	flag.StringVar(&token, "token", "", "bearer token for it")
	flag.Parse()

	types := reachable()
	definitions, resources := object{}, []any{}
	for _, group := range groups {
		document := get("/openapi/v3/" + group)
		for name, definition := range document["components"].(object)["schemas"].(object) {
			trim(definition)
			definitions[name] = definition
		}
		resources = append(resources, object{"path": group, "resources": get("/" + group)["resources"]})
	}
	for name, t := range types {
		if definition, ok := definitions[name].(object); ok {
			emit(definition, t)
		}
	}
	body, err := json.Marshal(object{"definitions": definitions, "groups": resources})
	check(err)
	write(filepath.Join(*out, "types.json.gz"), body)
	write(filepath.Join(*out, "messages.txt.gz"), []byte(messages(types)))
}

// Every struct that a registered kind can hold, by its OpenAPI name.
func reachable() map[string]reflect.Type {
	found := map[string]reflect.Type{}
	var visit func(t reflect.Type)
	visit = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Array:
			visit(t.Elem())
		case reflect.Struct:
			if found[name(t)] != nil || !strings.HasPrefix(t.PkgPath(), "k8s.io/") || special(t) != "" {
				return
			}
			found[name(t)] = t
			for i := 0; i < t.NumField(); i++ {
				if t.Field(i).IsExported() {
					visit(t.Field(i).Type)
				}
			}
		}
	}
	check(apiextensions.AddToScheme(scheme.Scheme))
	for kind, t := range scheme.Scheme.AllKnownTypes() {
		path := "apis/" + kind.Group + "/" + kind.Version
		if kind.Group == "" {
			path = "api/" + kind.Version
		}
		for _, group := range groups {
			if group == path {
				visit(t)
			}
		}
	}
	return found
}

func name(t reflect.Type) string {
	return "io." + strings.ReplaceAll(strings.TrimPrefix(strings.Replace(t.PkgPath(), "k8s.io/", "k8s.", 1), "/"), "/", ".") + "." + t.Name()
}

// Types with a JSON form of their own.
func special(t reflect.Type) string {
	switch name(t) {
	case "io.k8s.apimachinery.pkg.api.resource.Quantity":
		return "quantity"
	case "io.k8s.apimachinery.pkg.apis.meta.v1.Time":
		return "time"
	case "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime":
		return "microtime"
	case "io.k8s.apimachinery.pkg.apis.meta.v1.Duration":
		return "duration"
	case "io.k8s.apimachinery.pkg.util.intstr.IntOrString":
		return "intorstring"
	case "io.k8s.apimachinery.pkg.runtime.RawExtension":
		return "raw"
	case "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1":
		return "fields"
	case "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON":
		return "json"
	}
	return ""
}

func jsonName(f reflect.StructField) (string, []string) {
	parts := strings.Split(f.Tag.Get("json"), ",")
	return parts[0], parts[1:]
}

func has(options []string, option string) bool {
	for _, o := range options {
		if o == option {
			return true
		}
	}
	return false
}

func emit(definition object, t reflect.Type) {
	properties, _ := definition["properties"].(object)
	for i := 0; i < t.NumField(); i++ {
		f := t.Field(i)
		key, options := jsonName(f)
		if key == "" && f.Anonymous && f.Type.Kind() == reflect.Struct {
			emit(definition, f.Type)
			continue
		}
		property, ok := properties[key].(object)
		if !ok || f.Type.Kind() == reflect.Pointer {
			continue
		}
		isStruct := f.Type.Kind() == reflect.Struct
		switch {
		case has(options, "omitzero"):
			property["x-emit"] = "o"
		case isStruct && special(f.Type) != "":
			property["x-emit"] = "z"
		case isStruct:
			property["x-emit"] = "s"
		case has(options, "omitempty"):
			property["x-emit"] = "o"
		default:
			property["x-emit"] = "z"
		}
	}
}

// One block a type: its name, then "NUMBER JSONNAME KIND [TYPE]" for each field;
// the name "." is a message whose fields stand in the holder's JSON.
func messages(types map[string]reflect.Type) string {
	var names []string
	for n := range types {
		names = append(names, n)
	}
	sort.Strings(names)
	var text strings.Builder
	for _, n := range names {
		t := types[n]
		var lines []string
		for i := 0; i < t.NumField(); i++ {
			f := t.Field(i)
			tag := strings.Split(f.Tag.Get("protobuf"), ",")
			if len(tag) < 2 {
				continue
			}
			key, _ := jsonName(f)
			if key == "" {
				key = "."
			}
			lines = append(lines, fmt.Sprintf("%s %s %s", tag[1], key, kind(f.Type)))
		}
		if len(lines) > 0 {
			fmt.Fprintf(&text, "%s\n%s\n\n", n, strings.Join(lines, "\n"))
		}
	}
	return text.String()
}

func kind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return kind(t.Elem())
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "bool"
	case reflect.Int32, reflect.Int64, reflect.Int, reflect.Uint8, reflect.Uint32, reflect.Uint64:
		return "int"
	case reflect.Float32, reflect.Float64:
		return "double"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return "bytes"
		}
		return "list " + kind(t.Elem())
	case reflect.Map:
		if t.Elem().Kind() == reflect.Slice && t.Elem().Elem().Kind() == reflect.String {
			return "map strings"
		}
		return "map " + kind(t.Elem())
	case reflect.Struct:
		if s := special(t); s != "" {
			return s
		}
		return "message " + name(t)
	}
	panic("no protobuf form for " + t.String())
}

// Drops descriptions.
func trim(value any) {
	switch v := value.(type) {
	case object:
		for key, inner := range v {
			if _, isText := inner.(string); key == "description" && isText {
				delete(v, key)
				continue
			}
			trim(inner)
		}
	case []any:
		for _, inner := range v {
			trim(inner)
		}
	}
}

func get(path string) object {
	request, err := http.NewRequest("GET", server+path, nil)
	check(err)
	request.Header.Set("Authorization", "Bearer "+token)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	response, err := client.Do(request)
	check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(err)
	if response.StatusCode != 200 {
		check(fmt.Errorf("GET %s: %s", path, response.Status))
	}
	var document object
	check(json.Unmarshal(body, &document))
	return document
}

func write(path string, body []byte) {
	file, err := os.Create(path)
	check(err)
	archive, err := gzip.NewWriterLevel(file, gzip.BestCompression)
	check(err)
	_, err = archive.Write(body)
	check(err)
	check(archive.Close())
	check(file.Close())
	fmt.Printf("%s: %d bytes\n", path, len(body))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
