// A small generator whose sequence is the same everywhere: for jitter, drills and simulations; not for secrets.
#pragma once

#include <cstdint>

namespace mpath {

// splitmix64: advances `state` and mixes it.
[[nodiscard]] inline std::uint64_t next_random(std::uint64_t& state) {
  state += 0x9e3779b97f4a7c15u;
  std::uint64_t mixed = state;
  mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
  mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
  return mixed ^ (mixed >> 31);
}

// Evenly in [0, 1).
[[nodiscard]] inline double next_fraction(std::uint64_t& state) {
  return static_cast<double>(next_random(state) >> 11) / static_cast<double>(std::uint64_t{1} << 53);
}

}  // namespace mpath
