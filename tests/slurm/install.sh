#!/usr/bin/env bash
# Install SLURM with accounting, unless it is installed already (Debian and Ubuntu; as root).
set -euo pipefail
missing=()
for pair in sbatch:slurm-wlm munged:munge slurmdbd:slurmdbd mariadbd:mariadb-server; do
  PATH=$PATH:/usr/sbin command -v "${pair%%:*}" > /dev/null || missing+=("${pair##*:}")
done
[ ${#missing[@]} -eq 0 ] && exit
[ "$(id -u)" -eq 0 ] || { echo "error: missing packages: ${missing[*]}; install them, or run this script as root" >&2; exit 2; }
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
