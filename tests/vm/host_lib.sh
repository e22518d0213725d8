# What stories with a machine of two NICs share on this side. Sourced after ../netns/lib.sh, once the laboratory is there.

# Their other ends, in the target's namespace: v0 10.78.0.2, v1 10.78.1.2.
tap_nics() {
  local i
  for i in 0 1; do
    in_t ip tuntap add dev "v$i" mode tap || skip "no tap device"
    in_t ip addr add "10.78.$i.2/24" dev "v$i"
    in_t ip link set "v$i" up
  done
}

# The Debian packages of this build, in $LAB/debs.
make_packages() {
  mkdir "$LAB/debs"
  (cd "$MPATH_BUILD" && cpack -G DEB -B "$LAB/debs") > "$LAB/cpack.log" 2>&1 || { cat "$LAB/cpack.log"; die "no packages"; }
}
