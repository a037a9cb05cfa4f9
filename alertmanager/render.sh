#!/bin/sh
# Writes alertmanager.yml with the receivers that are configured, then runs what is given.
#
#   render.sh CONFIG [command …]        e.g.  render.sh /tmp/alertmanager.yml /bin/alertmanager …
#
# A receiver is on when its secret is there (files in $ALERT_SECRETS_DIR, by default /run/secrets):
#   alertmanager_webhook_url      POSTs every notification as JSON
#   alertmanager_slack_url        Slack's incoming webhook
#   alertmanager_pagerduty_key    pages for critical alerts (Events API v2 routing key)
#   alertmanager_smtp_password    e-mail; needs ALERT_EMAIL_TO, ALERT_EMAIL_FROM, ALERT_SMTP_HOST
#   alertmanager_deadman_url      is POSTed every minute while alerting works as a whole
# and by variables:
#   ALERT_SMTP_USER   user at the mail server (ALERT_EMAIL_FROM)
#   ALERT_TIME_ZONE   of the working hours, Mon to Fri 08:00 to 18:00 (UTC)
#   ALERT_RUNBOOKS    prefix that makes links of the runbooks' paths (none)
#   ALERT_GROUP_WAIT  how long inhibition may settle before the first notification (15s)
#   ALERT_GROUP_INTERVAL  how long until news of the same group, also that it is over (1m)
#   ALERT_TEMPLATES   the folder of the templates (templates beside this script)
# Needs nothing but a POSIX shell, so that it runs in the official image.
set -eu
umask 077

fail() {
    echo "invalid configuration: $*" >&2
    exit 2
}

[ $# -ge 1 ] || fail "render.sh CONFIG [command …]: CONFIG is missing"
config=$1
shift
secrets=${ALERT_SECRETS_DIR:-/run/secrets}
here=$(cd "$(dirname "$0")" && pwd)
templates=${ALERT_TEMPLATES:-$here/templates}
runbooks=${ALERT_RUNBOOKS:-}

newline='
'
# quoted NAME VALUE: VALUE as one YAML scalar in single quotes.
quoted() {
    case $2 in
        *"$newline"*) fail "$1: more than one line is not allowed; allowed: one line" ;;
    esac
    printf "'%s'" "$(printf %s "$2" | sed "s/'/''/g")"
}

has() { [ -s "$secrets/alertmanager_$1" ]; }

# url NAME: the URL in a secret file, quoted.
url() {
    value=$(cat "$secrets/alertmanager_$1")
    case $value in
        http://?* | https://?*) quoted "alertmanager_$1" "$value" ;;
        *) fail "alertmanager_$1: (content) is not allowed; allowed: a URL, http:// or https://" ;;
    esac
}

path() { quoted ALERT_SECRETS_DIR "$secrets/alertmanager_$1"; }

webhook() {
    has webhook_url || return 0
    cat <<END
    webhook_configs:
      - url: $webhook_url
        send_resolved: true
END
}

slack() {
    has slack_url || return 0
    cat <<END
    slack_configs:
      - api_url_file: $slack_url
        send_resolved: true
        title: '{{ template "autoscaler.title" . }}'
        text: '{{ template "autoscaler.text" . }}'
        color: '{{ template "autoscaler.color" . }}'
END
}

pagerduty() {
    has pagerduty_key || return 0
    cat <<END
    pagerduty_configs:
      - routing_key_file: $pagerduty_key
        send_resolved: true
        description: '{{ template "autoscaler.title" . }}'
        severity: '{{ template "autoscaler.severity" . }}'
        details:
          alerts: '{{ template "autoscaler.text" . }}'
END
}

email() {
    has smtp_password || return 0
    cat <<END
    email_configs:
      - to: $email_to
        from: $email_from
        smarthost: $smtp_host
        auth_username: $smtp_user
        auth_password_file: $smtp_password
        send_resolved: true
        headers:
          Subject: '{{ template "autoscaler.title" . }}'
        html: '{{ template "autoscaler.html" . }}'
        text: '{{ template "autoscaler.text" . }}'
END
}

deadman() {
    has deadman_url || return 0
    cat <<END
    webhook_configs:
      - url: $deadman_url
        send_resolved: false
END
}

# Everything that is given is checked here: an exit within a here-document would go unseen.
webhook_url='' deadman_url=''
if has webhook_url; then webhook_url=$(url webhook_url); fi
if has deadman_url; then deadman_url=$(url deadman_url); fi
slack_url=$(path slack_url)
pagerduty_key=$(path pagerduty_key)
smtp_password=$(path smtp_password)
if has smtp_password; then
    for name in ALERT_EMAIL_TO ALERT_EMAIL_FROM ALERT_SMTP_HOST; do
        eval "value=\${$name:-}"
        [ -n "$value" ] || fail "$name: '' is not allowed; allowed: a value, as e-mail is on"
    done
    email_to=$(quoted ALERT_EMAIL_TO "$ALERT_EMAIL_TO")
    email_from=$(quoted ALERT_EMAIL_FROM "$ALERT_EMAIL_FROM")
    smtp_host=$(quoted ALERT_SMTP_HOST "$ALERT_SMTP_HOST")
    smtp_user=$(quoted ALERT_SMTP_USER "${ALERT_SMTP_USER:-$ALERT_EMAIL_FROM}")
fi
zone=$(quoted ALERT_TIME_ZONE "${ALERT_TIME_ZONE:-UTC}")
group_wait=$(quoted ALERT_GROUP_WAIT "${ALERT_GROUP_WAIT:-15s}")
group_interval=$(quoted ALERT_GROUP_INTERVAL "${ALERT_GROUP_INTERVAL:-1m}")
shipped=$(quoted ALERT_TEMPLATES "$templates/*.tmpl")
own=$(quoted CONFIG "$config.*.tmpl")

render() {
    cat <<END
templates:
  - $shipped
  - $own

time_intervals:
  - name: working-hours
    time_intervals:
      - weekdays: ['monday:friday']
        times:
          - start_time: '08:00'
            end_time: '18:00'
        location: $zone

route:
  receiver: warning
  group_by: [alertname, service, queue, target]
  group_wait: $group_wait
  group_interval: $group_interval
  repeat_interval: 4h
  routes:
    # Always firing: its silence is the alarm.
    - receiver: deadman
      matchers: [alertname="Watchdog"]
      group_wait: 0s
      repeat_interval: 1m
    - receiver: critical
      matchers: [severity="critical"]
      repeat_interval: 1h
    # The watchers' own small troubles can wait for the morning.
    - receiver: warning
      matchers: [severity="warning", service="monitoring"]
      active_time_intervals: [working-hours]
    - receiver: warning
      matchers: [severity="warning"]
    - receiver: info
      matchers: [severity="info"]
      active_time_intervals: [working-hours]
      repeat_interval: 1d

inhibit_rules:
  # Worse news of the same thing silences the lesser.
  - source_matchers: [severity="critical"]
    target_matchers: [severity=~"warning|info"]
    equal: [service, queue, target, source, job]
  # Without the broker all that is said of queues follows from that.
  - source_matchers: [alertname="BrokerDown"]
    target_matchers: [service="queue"]
  - source_matchers: [alertname="BrokerDown"]
    target_matchers: [alertname="SourceDown", source="management"]
  - source_matchers: [alertname="BrokerDown"]
    target_matchers: [alertname="ScrapeTargetDown", job="rabbitmq"]
  # A scaler that cannot see is no news while its eyes are shut further up.
  - source_matchers: [alertname=~"BrokerDown|LedgerDown|ExporterDown"]
    target_matchers: [alertname="ScalerBlind"]
  # A scaler that is down neither sees nor scales.
  - source_matchers: [alertname="ScalerUnresponsive"]
    target_matchers: [service="scaler", alertname!="ScalerUnresponsive"]

receivers:
  - name: critical
$(webhook)
$(slack)
$(pagerduty)
$(email)
  - name: warning
$(webhook)
$(slack)
$(email)
  - name: info
$(webhook)
$(slack)
  - name: deadman
$(deadman)
END
}

text=$(render)
printf '%s\n' "$text" | sed '/^$/d' >"$config"
printf '{{ define "autoscaler.runbooks" }}%s{{ end }}\n' "$runbooks" >"$config.runbooks.tmpl"
[ $# -eq 0 ] || exec "$@"
