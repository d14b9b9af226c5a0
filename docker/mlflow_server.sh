#!/bin/sh
# The tracking server: runs in PostgreSQL, files in a folder or a bucket that only the server reaches.
# The password goes to libpq by the environment: in no address, on no command line, in no log.
#   POSTGRES_HOST, POSTGRES_PASSWORD_FILE: the database; user and database are called mlflow
#   ARTIFACTS: a folder, or s3://bucket/path (then also AWS_ACCESS_KEY_ID and so on)
#   LISTEN_HOST, PORT: 127.0.0.1 and 5000 by default; it has no login, so whoever reaches it may write runs
#   ALLOWED_HOSTS: names under which clients may call it, as they write them; all others are refused. This machine's
#     own by default
set -eu
for name in POSTGRES_HOST POSTGRES_PASSWORD_FILE ARTIFACTS; do
    printenv "$name" | grep -q . || { echo "error: $name must be set, but is not; $0 says in its head to what" >&2; exit 2; }
done
port=${PORT:-5000}
PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
export PGPASSWORD
database="postgresql+psycopg2://mlflow@$POSTGRES_HOST/mlflow"
# One clear line where either store refuses us; MLflow itself would try for minutes and print a traceback.
python -m sweeps.engine.access "$database" "$ARTIFACTS"
export MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false # nobody submits jobs to it, and eight processes would wait for them
exec mlflow server \
    --backend-store-uri "$database" \
    --artifacts-destination "$ARTIFACTS" \
    --host "${LISTEN_HOST:-127.0.0.1}" --port "$port" --workers "${SERVER_WORKERS:-2}" \
    --uvicorn-opts "--timeout-worker-healthcheck 60" \
    --allowed-hosts "${ALLOWED_HOSTS:-localhost:$port,127.0.0.1:$port}"
