#!/bin/sh
# Keeps one worker: starts it, passes SIGTERM on, writes down how it ended, and takes everything
# that it left behind along. Usage: keep.sh FOLDER COMMAND...
folder=$1
shift
# Whoever started us first writes our process id down; if it died before that, so do we.
read -r _ || exit 0
trap 'exit 143' TERM
"$@" </dev/null &
worker=$!
trap 'kill -TERM "$worker" 2>/dev/null' TERM
echo "$worker" >"$folder/worker.pid"
while :; do
  wait "$worker"
  code=$?
  # A signal to us ends the wait early; a worker that has been waited for is gone.
  kill -0 "$worker" 2>/dev/null || break
done
echo "$code" >"$folder/exit.new"
mv "$folder/exit.new" "$folder/exit"
trap '' TERM
kill -KILL 0
