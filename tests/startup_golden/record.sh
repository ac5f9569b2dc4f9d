#!/usr/bin/env bash
# Records how pods start in a real cluster, for tests/startup_golden.rs.
#
#   record.sh KUBECONFIG SECONDS DIRECTORY [MANIFEST]
#
# Creates what is in the manifest, else in scenarios.yaml, in a namespace of its own, writes down what the API server
# says of its pods and of the Events there, each with the time at which it came, and cuts that into one
# DIRECTORY/POD.jsonl a pod. Whatever else is put into the namespace meanwhile (static.yaml, for example) is recorded as
# well; sandbox.yaml is for a node whose network plugin is broken. Images: IMAGE, a busybox that the nodes have, and
# PULLED, one that they have not. Left out is only what makes the files long. Needs kubectl and jq; leaves nothing in
# the cluster. The nodes' names are to be replaced by node-a before a recording goes to ../data/startup/recorded.
set -euo pipefail
export KUBECONFIG=$1
seconds=$2 directory=$3 manifest=${4:-$(dirname "$0")/scenarios.yaml} namespace=shop
image=${IMAGE:-busybox:1.36} pulled=${PULLED:-busybox:1.37} said=$(mktemp -d)

# What is left out is long, and nothing reads it.
cut='del(.object.metadata | .managedFields, .generation, .selfLink)
  | if .object.kind == "Pod" then
      .object.spec |= with_entries(
        select(.key | IN("nodeName", "hostNetwork", "restartPolicy", "initContainers", "containers")))
      | del(.object.spec[]?[]? | objects | .volumeMounts, .resources, .terminationMessagePath, .terminationMessagePolicy)
      | del(.object.status[]?[]? | objects | .volumeMounts, .resources, .allocatedResources, .user)
    else . end'

watch() { # PODS-OR-EVENTS
  kubectl get --raw "/api/v1/namespaces/$namespace/$1?watch=1&timeoutSeconds=$seconds" |
    jq --unbuffered -c "{at: now} + . | $cut" >"$said/$1"
}

kubectl create namespace "$namespace" >/dev/null
end() {
  kubectl -n "$namespace" patch pod deleted-with-finalizer -p '{"metadata": {"finalizers": null}}' >/dev/null 2>&1 || true
  kubectl delete namespace "$namespace" --wait=false >/dev/null
  rm -r "$said"
}
trap end EXIT
until kubectl -n "$namespace" get serviceaccount default >/dev/null 2>&1; do sleep 0.2; done
watch pods & pods=$!
watch events & events=$!
sleep 1

node=$(kubectl get nodes -o name | head -1)
sed "s#IMAGE#$image#; s#PULLED#$pulled#; s#NODE#${node#node/}#" "$manifest" | kubectl -n "$namespace" create -f - >/dev/null
sleep 5
kubectl -n "$namespace" delete pod deleted-before-ready deleted-with-finalizer --wait=false --ignore-not-found >/dev/null
kubectl -n "$namespace" delete pod deleted-by-force --force --wait=false --ignore-not-found >/dev/null 2>&1
eviction='{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "evicted-by-api"}}'
if kubectl -n "$namespace" get pod evicted-by-api >/dev/null 2>&1; then
  kubectl create --raw "/api/v1/namespaces/$namespace/pods/evicted-by-api/eviction" -f - >/dev/null <<<"$eviction"
fi
wait "$pods" "$events"

mkdir -p "$directory"
for pod in $(jq -r .object.metadata.name "$said/pods" | sort -u); do
  jq -c --arg pod "$pod" 'select([.object.metadata.name, .object.involvedObject.name] | index($pod))' "$said"/* |
    jq -s -c 'sort_by(.at)[]' >"$directory/$pod.jsonl"
done
