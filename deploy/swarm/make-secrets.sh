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

# What is there already stays, and what is new is made to fit.
if [ -e "$folder/rabbit_url" ]; then
    rabbit=$(sed 's|^amqps*://[^:]*:\([^@]*\)@.*|\1|' "$folder/rabbit_url")
    echo "$folder already holds secrets; only missing ones are added" >&2
else
    rabbit=$(random)
fi
redis=$(random)
printf 'amqp://rabbitreels:%s@rabbitmq:5672/' "$rabbit" | put rabbit_url
# The users of deploy/rabbitmq/definitions.json: the owner of the queues, and one for each program,
# which may do no more than it has to.
if [ ! -e "$folder/rabbitmq_definitions" ]; then
    case $rabbit in
        *[!A-Za-z0-9._~-]*)
            echo "rabbit_url: a password of other characters than A-Z a-z 0-9 . _ ~ - is not" \
                "allowed here; allowed: write $folder/rabbitmq_definitions yourself" >&2
            exit 2 ;;
    esac
    passwords="s/\"rabbitreels\", \"password\": \"development\"/\"rabbitreels\", \"password\": \"$rabbit\"/"
    for user in worker exporter operator; do
        password=$(random)
        passwords="$passwords;s/\"$user\", \"password\": \"development\"/\"$user\", \"password\": \"$password\"/"
        printf 'amqp://%s:%s@rabbitmq:5672/' "$user" "$password" >"$folder/${user}_rabbit_url"
        [ "$user" != exporter ] ||
            printf 'http://exporter:%s@rabbitmq:15672' "$password" >"$folder/exporter_management_url"
    done
    sed "$passwords" "$(dirname "$0")/../rabbitmq/definitions.json" | put rabbitmq_definitions
fi
if [ ! -e "$folder/redis_url" ]; then
    put redis_conf <<END
requirepass $redis
appendonly yes
END
    printf 'redis://:%s@redis:6379/0' "$redis" | put redis_url
fi
random | put gateway_token
random | put act_token
random | put grafana_password
# Read by the engine's client only, which copies them into the Swarm.
chmod 600 "$folder"/*
