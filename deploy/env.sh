#!/bin/sh
# Makes .env from .env.example, with a random value for each secret. It never overwrites an existing .env.
set -eu
umask 077
cd "$(dirname "$0")/.."
if [ -e .env ]; then
    echo "deploy/env.sh: .env exists already; add what it lacks of .env.example yourself" >&2
    exit 1
fi
while IFS= read -r line; do
    case $line in
        [A-Z]*=) line=$line$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n') ;;
    esac
    printf '%s\n' "$line"
done < .env.example > .env.new
mv .env.new .env
