#!/bin/sh
# Makes the test certificates anew: a CA, a server for loopback addresses, a client, and a stranger's CA.
set -eu
cd "$(dirname "$0")"
ca() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj "/CN=$1" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign -keyout "$1.key" -out "$1.crt"
}
leaf() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/O=test/CN=$1" -keyout "$1.key" -out "$1.csr"
    printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=%s\n%s\n' "$2" "$3" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 36500 -extfile "$1.ext" -out "$1.crt"
    rm "$1.csr" "$1.ext"
}
ca ca
ca stranger
leaf server serverAuth subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost
leaf client clientAuth ""
rm -f ca.key stranger.key ca.srl
