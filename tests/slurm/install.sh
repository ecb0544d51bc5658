#!/usr/bin/env bash
# Installs what a SLURM on one machine needs, with accounting, where it is not there (Debian and Ubuntu; as root).
set -euo pipefail
lacking=()
for pair in sbatch:slurm-wlm munged:munge slurmdbd:slurmdbd mariadbd:mariadb-server; do
  PATH=$PATH:/usr/sbin command -v "${pair%%:*}" > /dev/null || lacking+=("${pair##*:}")
done
[ ${#lacking[@]} -eq 0 ] && exit
[ "$(id -u)" -eq 0 ] || { echo "error: these packages are needed, install them as root: ${lacking[*]}" >&2; exit 2; }
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${lacking[@]}"
