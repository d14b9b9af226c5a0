#!/bin/sh
# Draw the passwords that compose.yaml asks for; those that exist stay. The folder is its owner's alone, the files in
# it can be read by the containers' users.
set -eu
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 700 "$folder"
for name in postgres_password ray_token; do
    [ -s "$folder/$name" ] || od -An -N32 -tx1 /dev/urandom | tr -d ' \n' > "$folder/$name"
    chmod 644 "$folder/$name"
done
