// What would happen now if a member died or the links were cut: who would serve then, after how long at most, and what
// would wait or be lost. The rules are those of target/replication/INVARIANTS.md.
//
// Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "target/cluster/status.hpp"
#include "target/config/model.hpp"

namespace mpath::target::cluster {

enum class Mishap : std::uint8_t { node_a_dies, node_b_dies, witness_dies, links_cut };

// "node-a-dies", "node-b-dies", "witness-dies", "links-cut"
[[nodiscard]] std::optional<Mishap> parse_mishap(std::string_view word);
[[nodiscard]] const char* mishap_word(Mishap mishap);

// As this node sees the pair. Lines of "who", "waits", "lost", "then".
[[nodiscard]] std::vector<std::string> what_if(const ClusterStatus& status, Mishap mishap, const ClusterConfig& config);

}  // namespace mpath::target::cluster
