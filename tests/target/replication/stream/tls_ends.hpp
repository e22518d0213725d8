// Two ends of TLS that have shaken hands, in memory.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "target/replication/tls_engine.hpp"

namespace mpath::target::replication::test {

inline TlsKey tls_key(int seed, const std::string& name = "mptarget lab node-a key-01020304") {
  TlsKey key{.name = name};
  key.key.fill(static_cast<std::byte>(seed));
  return key;
}

struct TlsEnds {
  std::unique_ptr<TlsEngine> near, far;
  std::string near_failed, far_failed;        // why there is none
  std::size_t near_bytes = 0, far_bytes = 0;  // of the handshake, that each said

  [[nodiscard]] bool met() const { return near_failed.empty() && far_failed.empty(); }
};

// `bytes`, in the records that they are.
inline std::vector<std::vector<std::byte>> records_of(std::span<const std::byte> bytes) {
  std::vector<std::vector<std::byte>> records;
  while (bytes.size() >= TlsEngine::record_header_bytes) {
    const auto length = std::to_integer<std::size_t>(bytes[3]) << 8 | std::to_integer<std::size_t>(bytes[4]);
    const std::size_t whole = std::min(TlsEngine::record_header_bytes + length, bytes.size());
    records.emplace_back(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(whole));
    bytes = bytes.subspan(whole);
  }
  return records;
}

// `near` connects. Each hears what the other says, record by record, until both are done or one has failed.
inline TlsEnds shake_hands(std::unique_ptr<TlsEngine> near, std::unique_ptr<TlsEngine> far) {
  TlsEnds ends{.near = std::move(near), .far = std::move(far)};
  struct Side {
    TlsEngine& engine;
    std::string& failed;
    std::size_t& bytes;
    bool done = false;
    std::vector<std::byte> hear(std::span<const std::byte> record) {
      EXPECT_FALSE(done) << "nothing is said to one that is done";
      const auto result = engine.shake(record);
      if (!result) failed = result.error();
      done = !result || *result;
      const auto said = engine.take_said();
      bytes += said.size();
      return said;
    }
  };
  Side a{*ends.near, ends.near_failed, ends.near_bytes}, b{*ends.far, ends.far_failed, ends.far_bytes};
  std::vector<std::byte> said = a.hear({});
  Side *from = &a, *to = &b;
  for (int turn = 0; turn < 8 && !said.empty(); ++turn) {
    std::vector<std::byte> answers;
    for (const auto& record : records_of(said)) {
      if (to->done) break;
      const auto answer = to->hear(record);
      answers.insert(answers.end(), answer.begin(), answer.end());
    }
    said = std::move(answers);
    std::swap(from, to);
  }
  if (!a.done) ends.near_failed = "not done";
  if (!b.done) ends.far_failed = "not done";
  return ends;
}

inline TlsEnds tls_ends(int seed = 1, std::uint64_t records_per_key = 1 << 20) {
  return shake_hands(TlsEngine::connecting(tls_key(seed), records_per_key),
                     TlsEngine::accepting({tls_key(seed)}, records_per_key));
}

}  // namespace mpath::target::replication::test
