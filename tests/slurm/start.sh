#!/usr/bin/env bash
# Start a SLURM cluster of one or two nodes on this machine, as root:  start.sh FOLDER PORT [accounting|two-nodes]
# All its files are in FOLDER; it uses PORT and the next three ports.
# Then  export SLURM_CONF=FOLDER/slurm.conf  to use it, and  stop.sh FOLDER  to stop it.
set -euo pipefail
folder=$1 port=$2 accounting='' nodes=($(hostname -s))
case ${3:-} in
  accounting) accounting=yes ;;
  two-nodes) nodes+=(localhost) ;; # processes find each other by the names of their nodes, so these must resolve
esac
here=$(cd "$(dirname "$0")" && pwd)
export PATH=$PATH:/usr/sbin SLURM_CONF=$folder/slurm.conf
trap '[ $? -eq 0 ] || tail -n 40 "$folder"/*.log >&2' EXIT

wait_until() { # long enough for a new accounting database, which writes 60 tables to a possibly busy disk
  for _ in $(seq 1200); do eval "$1" > /dev/null 2>&1 && return; sleep 0.1; done
  echo "error: timeout after two minutes:  $1" >&2
  exit 1
}

fill() { # fill TEMPLATE: print it with its capitalized placeholders replaced
  accounts="AccountingStorageType=accounting_storage/none"
  [ -z "$accounting" ] || accounts="AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1"
  [ -z "$accounting" ] || accounts+="\nAccountingStoragePort=$((port + 2))\nAccountingStoragePass=$folder/munge.sock"
  sed -e "s|FOLDER|$folder|g; s|NODE|$(hostname -s)|g; s|ACCOUNTING|$accounts|" \
    -e "s|PORT0|$port|; s|PORT2|$((port + 2))|" "$here/templates/$1"
}

mkdir -p "$folder"/{controller,keys}
fill slurm.conf > "$folder/slurm.conf"
for i in "${!nodes[@]}"; do # each node has a daemon, at PORT + 1 or PORT + 3
  echo "NodeName=${nodes[$i]} NodeAddr=127.0.0.1 NodeHostname=$(hostname -s) Port=$((port + 1 + 2 * i))" \
    "CPUs=16 RealMemory=$(awk '/MemTotal/ {print int($2 / 1100)}' /proc/meminfo) Gres=gpu:2 State=UNKNOWN"
done >> "$folder/slurm.conf"
# slurmd always loads a cgroup plugin; this one has no effect because it is not mounted.
printf 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n' > "$folder/cgroup.conf"

touch "$folder"/gpu0 "$folder"/gpu1 # SLURM only counts these GPUs, so any files will do
echo "Name=gpu File=$folder/gpu[0-1]" > "$folder/gres.conf"

(umask 077; head -c 1024 /dev/urandom > "$folder/keys/munge.key")
munged --force --key-file="$folder/keys/munge.key" --socket="$folder/munge.sock" --pid-file="$folder/munged.pid" \
  --log-file="$folder/munged.log" --seed-file="$folder/munge.seed"
wait_until "munge -S $folder/munge.sock -n"

if [ -n "$accounting" ]; then
  install -d -o mysql "$folder/accounts" "$folder/mariadb"
  export TMPDIR=$folder/mariadb # a starting MariaDB deletes the temporary tables of others in the same folder
  mariadb-install-db --no-defaults --user=mysql --datadir="$folder/accounts" --skip-test-db \
    --auth-root-authentication-method=socket > "$folder/mariadb-install.log" 2>&1
  setsid mariadbd --no-defaults --user=mysql --datadir="$folder/accounts" --socket="$folder/mariadb/socket" \
    --pid-file="$folder/mariadb/mariadbd.pid" --skip-networking --innodb-lock-wait-timeout=900 \
    --innodb-buffer-pool-size=64M --innodb-use-native-aio=0 --innodb-flush-log-at-trx-commit=0 \
    > "$folder/mariadb.log" 2>&1 < /dev/null &
  wait_until "mariadb-admin --no-defaults -S $folder/mariadb/socket ping"
  (umask 077; fill slurmdbd.conf > "$folder/slurmdbd.conf")
  MYSQL_UNIX_PORT=$folder/mariadb/socket slurmdbd
  wait_until "sacctmgr -n show cluster"
fi

slurmctld -c
for node in "${nodes[@]}"; do slurmd -N "$node"; done
wait_until "[ \"\$(sinfo -h -o %T -p main)\" = idle ]"
