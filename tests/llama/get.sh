#!/usr/bin/env bash
# A real llama-server for the tests, into target/llama: Debian's own packages, unpacked and run with their own loader and
# libraries. Nothing is installed. About 12 MB are fetched, once; a second call only looks whether it is there.
#
# usage: tests/llama/get.sh [FOLDER]      prints the server's path; exits with 1 and the reason where it cannot be had
set -euo pipefail
folder=${1:-$(dirname "$0")/../../target/llama}

cannot() {
    echo "llama-server cannot be had here: $*" >&2
    exit 1
}

if [[ -x $folder/llama-server ]] && "$folder/llama-server" --version >/dev/null 2>&1; then
    realpath "$folder/llama-server"
    exit
fi
for tool in apt-get dpkg-deb timeout; do
    command -v "$tool" >/dev/null || cannot "this is no Debian ($tool is missing)"
done
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[[ -r $keys ]] || cannot "the keys of Debian's archive are missing ($keys)"
# The mirror that this machine uses already.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -v security | head -n 1) || true
[[ -n $mirror ]] || cannot "apt knows no mirror"

mkdir -p "$folder"
folder=$(realpath "$folder")
work=$folder/new
rm -rf "$work"
mkdir -p "$work"/{lists/partial,cache/archives/partial,debs,root}
# llama.cpp is in Debian's unstable release alone. These options make a private apt, which sees nothing else and which
# nothing else sees.
echo "deb [signed-by=$keys] $mirror sid main" >"$work/sources.list"
private_apt() {
    timeout 120 apt-get -qq \
        -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" \
        -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}
private_apt update || cannot "no list of packages from $mirror"
packages=(llama.cpp-tools libllama0 libggml0 libssl3t64 libc6 libstdc++6 libgcc-s1 libgomp1 libzstd1 zlib1g)
(cd "$work/debs" && private_apt download "${packages[@]}") || cannot "the packages cannot be fetched from $mirror"
for package in "$work"/debs/*.deb; do
    dpkg-deb --extract "$package" "$work/root"
done

rm -rf "$folder/root"
mv "$work/root" "$folder/root"
rm -rf "$work" "$folder/root/usr/share"
loader=$(find "$folder/root/usr/lib" -name 'ld-linux*.so.*' | head -n 1)
[[ -n $loader ]] || cannot "libc6 has no loader"
libraries=$(dirname "$loader")
# The backends for each kind of processor are looked for beside the program that runs, which is the loader.
cp "$libraries"/ggml/backends*/libggml-cpu-*.so "$libraries/"
cat >"$folder/llama-server" <<SCRIPT
#!/bin/sh
exec '$loader' --library-path '$libraries:$libraries/llama' '$folder/root/usr/bin/llama-server' "\$@"
SCRIPT
chmod +x "$folder/llama-server"
"$folder/llama-server" --version >/dev/null 2>&1 || cannot "it does not run"
echo "$folder/llama-server"
