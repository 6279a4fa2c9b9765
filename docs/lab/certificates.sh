#!/bin/sh
# Make a lab's own certificates: sh certificates.sh DIRECTORY NAME...
#
# DIRECTORY gets ca.crt and ca.key, once, and NAME.crt and NAME.key for each name that has none.
# A machine needs ca.crt and its own two files; ca.key stays here, with whoever makes certificates.
set -eu
umask 077
directory=$1
shift
mkdir -p "$directory"
cd "$directory"

days=3650
curve="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"

if [ ! -e ca.key ]; then
	openssl req -x509 $curve -days $days -subj "/CN=logtrace lab" \
		-addext "keyUsage=critical,keyCertSign,cRLSign" -keyout ca.key -out ca.crt
fi
for name; do
	[ -e "$name.crt" ] && continue
	openssl req $curve -subj "/CN=$name" -keyout "$name.key" -out "$name.csr"
	printf '%s\n' "subjectAltName=DNS:$name" "basicConstraints=CA:FALSE" \
		"extendedKeyUsage=serverAuth,clientAuth" >"$name.ext"
	openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial \
		-days $days -extfile "$name.ext" -out "$name.crt"
	rm "$name.csr" "$name.ext"
done
chmod a+r ./*.crt
