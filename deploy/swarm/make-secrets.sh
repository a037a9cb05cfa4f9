#!/bin/sh
# Writes random passwords and what is made of them into secrets/ (or the folder given), once.
set -eu
folder=${1:-$(dirname "$0")/secrets}
umask 077
mkdir -p "$folder"
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# put NAME: stdin as that secret, unless it is there already.
put() {
    if [ -e "$folder/$1" ]; then cat >/dev/null; else cat >"$folder/$1"; fi
}

if [ -e "$folder/rabbit_url" ] || [ -e "$folder/redis_url" ]; then
    echo "$folder already holds secrets; nothing is changed" >&2
    exit 0
fi
rabbit=$(random)
redis=$(random)
put rabbitmq_conf <<END
default_user = rabbitreels
default_pass = $rabbit
END
put redis_conf <<END
requirepass $redis
appendonly yes
maxmemory-policy noeviction
END
printf 'amqp://rabbitreels:%s@rabbitmq:5672/' "$rabbit" | put rabbit_url
printf 'redis://:%s@redis:6379/0' "$redis" | put redis_url
random | put gateway_token
random | put grafana_password
# Read by the engine's client only, which copies them into the Swarm.
chmod 600 "$folder"/*
