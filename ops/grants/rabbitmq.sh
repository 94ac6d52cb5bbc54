#!/bin/sh
# What each user of the broker may do in a virtual host. Run it where rabbitmqctl reaches the broker:
#
#   ops/grants/rabbitmq.sh [VIRTUAL HOST]      (default: /)
#
# The users must be there: rabbitmqctl add_user payments-worker. RABBITMQCTL names another rabbitmqctl, such as
# "docker compose exec rabbitmq rabbitmqctl". Running it again changes nothing.
#
# Permissions are patterns of names that a user may configure, write and read (rabbitmq.com/docs/access-control): to
# publish is to write to an exchange, to consume is to read a queue, to bind is to write the queue and read the exchange.
set -eu

vhost=${1:-/}
may() { # USER CONFIGURE WRITE READ
	${RABBITMQCTL:-rabbitmqctl} --quiet set_permissions -p "$vhost" "$1" "$2" "$3" "$4"
}
may_write_about() { # USER EXCHANGE ROUTING-KEYS
	${RABBITMQCTL:-rabbitmqctl} --quiet set_topic_permissions -p "$vhost" "$1" "$2" "$3" '.*'
}

# A worker declares the topology, and consumes and publishes within it. amq.default is how a dead letter that is sent back
# reaches the queue it died in, and how a caller that asked for it gets an answer.
may payments-worker '^payments\..*' '^(payments\..*|amq\.default)$' '^payments\..*'

# The ingestor faces the internet: it may publish callbacks, and nothing else.
may payments-ingestor '^$' '^payments\.callbacks$' '^$'

# An operator takes in dead letters; with --direct he sends them back himself.
may payments-operator '^$' '^amq\.default$' '^payments\..*\.dead$'

# The order service publishes its commands, and reads events from queues of its own. It cannot publish an event, and it
# cannot decide a case of the operators'.
may order-service '^order-service\..*' '^(payments\.commands|order-service\..*)$' '^(payments\.events|order-service\..*)$'
may_write_about order-service payments.commands '^(payment|refund)\..*'

# The notification service reads events.
may notification-service '^notification-service\..*' '^notification-service\..*' '^(payments\.events|notification-service\..*)$'
