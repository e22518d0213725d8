// What an I/O costs: system calls and allocations, at depth 32.
#include <array>

#include "tests/support/allocation_counter.hpp"
#include "tests/target/iscsi/session_fixture.hpp"

namespace mpath::target::test {
namespace {

using HotPath = SessionTest;

constexpr unsigned depth = 32;
constexpr std::uint32_t io_bytes = 4096;
constexpr std::size_t round_max = 40;

// Rounds of `depth` commands, sent in one piece, and their answers counted by bytes: nothing here allocates.
struct Rounds {
  std::vector<Bytes> requests;
  Bytes answers;
  int fd = -1;
  void run(std::size_t from, std::size_t to) {
    for (std::size_t round = from; round < to; ++round) {
      const Bytes& request = requests[round];
      for (std::size_t sent = 0; sent < request.size();) {
        const ssize_t count = ::send(fd, request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
        if (count <= 0) throw ScriptError("send");
        sent += static_cast<std::size_t>(count);
      }
      for (std::size_t got = 0; got < answers.size();) {
        const ssize_t count = ::recv(fd, answers.data() + got, answers.size() - got, 0);
        if (count <= 0) throw ScriptError("receive");
        got += static_cast<std::size_t>(count);
      }
    }
  }
};

class HotPathOf : public HotPath, public ::testing::WithParamInterface<bool> {};

TEST_P(HotPathOf, CostsNoAllocationAndFewSystemCalls) {
  const bool writes = GetParam();
  serve();
  poke(0, pattern(depth * io_bytes));
  auto initiator = log_in_quietly();
  Rounds rounds{.fd = initiator.fd()};
  const Bytes data = pattern(io_bytes, 5);
  for (std::size_t round = 0; round < round_max; ++round) {
    Bytes& bytes = rounds.requests.emplace_back();
    for (unsigned index = 0; index < depth; ++index) {
      const auto cdb = writes ? scsi::write_cdb(index * 8, 8) : scsi::read_cdb(index * 8, 8);
      const auto command = initiator.command(
          cdb, {.in = writes ? 0 : io_bytes, .out = writes ? io_bytes : 0, .immediate_data = writes ? io_bytes : 0});
      std::array<std::byte, 48> bhs;
      iscsi::encode(command, bhs);
      bytes.insert(bytes.end(), bhs.begin(), bhs.end());
      if (writes) bytes.insert(bytes.end(), data.begin(), data.end());
    }
  }
  rounds.answers.resize(depth * (48 + (writes ? 0 : io_bytes)));
  rounds.run(0, round_max / 2);  // slabs and pools fill
  const SessionStatus before = status();
  const std::uint64_t allocated = mpath::test::allocations();
  rounds.run(round_max / 2, round_max);
  EXPECT_EQ(mpath::test::allocations() - allocated, 0U);
  const SessionStatus after = status();
  const auto ios = static_cast<double>(after.commands - before.commands);
  EXPECT_EQ(ios, depth * (round_max - round_max / 2));
  // A wake is a wait that is armed and one that returns.
  const auto calls = static_cast<double>(after.receives - before.receives + after.sends - before.sends +
                                         2 * (after.wakes - before.wakes));
  RecordProperty("system_calls_per_io", std::to_string(calls / ios));
  std::printf("%s: %.3f system calls per I/O\n", writes ? "write" : "read", calls / ios);
  EXPECT_LE(calls / ios, 0.3);
}

INSTANTIATE_TEST_SUITE_P(Session, HotPathOf, ::testing::Bool(),
                         [](const auto& row) { return row.param ? "Writes" : "Reads"; });

}  // namespace
}  // namespace mpath::target::test
