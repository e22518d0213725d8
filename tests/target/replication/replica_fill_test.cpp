// Two real copies with a stream between them that counts: what a filling asks and what it sends.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>

#include "base/sim_clock.hpp"
#include "target/replication/replica.hpp"
#include "target/store/memory_store.hpp"

namespace mpath::target::replication {
namespace {

constexpr std::uint64_t extent_bytes = 256 << 10;
constexpr std::uint64_t extents = 128;
constexpr std::uint64_t size_bytes = extents * extent_bytes;

class NoLog final : public LogSink {
 public:
  void write(LogLevel, std::string_view) noexcept override {}
};

// What was sent and is not delivered yet, of both directions.
struct Wire {
  struct Item {
    int to = 0;
    StreamHead head;
    std::vector<std::byte> body;
  };
  std::deque<Item> items;
  std::array<PeerStream::Receiver*, 2> receivers{};
  std::map<StreamOp, std::uint64_t> messages;
  std::map<StreamOp, std::uint64_t> bytes;  // of the units' data
};

class WireEnd final : public PeerStream {
 public:
  WireEnd(Wire& wire, int side) : wire_(wire), side_(side) {}
  ~WireEnd() override { close(); }
  void start(Receiver& receiver) override { wire_.receivers[static_cast<std::size_t>(side_)] = &receiver; }
  void send(const StreamHead& head, std::span<const iovec> body) override {
    Wire::Item item{.to = 1 - side_, .head = head, .body = {}};
    for (const iovec& part : body) {
      const auto* const data = static_cast<const std::byte*>(part.iov_base);
      item.body.insert(item.body.end(), data, data + part.iov_len);
    }
    ++wire_.messages[head.op];
    wire_.bytes[head.op] += head.length;
    wire_.items.push_back(std::move(item));
  }
  void close() override { wire_.receivers[static_cast<std::size_t>(side_)] = nullptr; }

 private:
  Wire& wire_;
  int side_;
};

// A node's part: the medium is memory, and what is to be durable is so at once.
class Side : private MapStore, private StateLog {
 public:
  Side(SimClock& clock, const Log& log) {
    DirtyMap map({.unit = {}, .size_bytes = size_bytes, .extent_bytes = extent_bytes});
    map.mark(map.all());
    const Replica::Seams seams{.local = store,
                               .map_store = *this,
                               .local_state = *this,
                               .serving = serving_,
                               .clock = clock,
                               .buffers = buffers};
    replica.emplace(seams, std::move(map), LuState(), ReplicaOptions(), log);
  }
  // Each block of 64 KiB from `first` on, `count` of them, becomes one of `byte`s.
  void put(std::uint64_t first, std::uint64_t count, std::byte byte) {
    std::vector<std::byte> data(sum_block_bytes, byte);
    for (std::uint64_t block = first; block < first + count; ++block) {
      iovec part{.iov_base = data.data(), .iov_len = data.size()};
      BlockRequest request;
      request.op = BlockOp::write;
      request.offset = block * sum_block_bytes;
      request.length = data.size();
      request.data = {&part, 1};
      request.done = [](BlockRequest&) noexcept {};
      store.submit(request);
      ASSERT_EQ(request.status, BlockStatus::ok);
    }
  }
  std::vector<std::byte> all() {
    std::vector<std::byte> data(size_bytes);
    iovec part{.iov_base = data.data(), .iov_len = data.size()};
    BlockRequest request;
    request.op = BlockOp::read;
    request.length = data.size();
    request.data = {&part, 1};
    request.done = [](BlockRequest&) noexcept {};
    store.submit(request);
    return data;
  }
  // What was written to its files is durable now.
  void files_written() {
    for (auto& done : std::exchange(written_, {})) done({});
  }
  [[nodiscard]] bool idle() const { return written_.empty(); }

  MemoryStore store{{.name = "ram", .kind = StoreKind::ram, .path = {}, .size_bytes = size_bytes, .journal = {}}};
  BufferPool buffers{1 << 20};
  std::optional<Replica> replica;

 private:
  void write(std::vector<DirtyMap::PageWrite>, std::function<void(error_code)> done) override {
    written_.push_back(std::move(done));
  }
  void commit(const LuState&, Done done) override { written_.push_back(std::move(done)); }

  Serving serving_;
  std::vector<std::function<void(error_code)>> written_;
};

class ReplicaFill : public testing::Test {
 protected:
  static constexpr std::uint64_t blocks = size_bytes / sum_block_bytes;

  // The leader makes the other one equal to itself.
  void fill() {
    leader_.replica->on_report = [this](const Report& report) { report_ = report; };
    follower_.replica->set_orders({.term = 1, .role = CopyRole::follow});
    leader_.replica->set_orders({.term = 1, .role = CopyRole::lead, .may_fill = true, .peer_incarnation = 7});
    follower_.replica->prepare_to_follow(1, [](bool ok) { ASSERT_TRUE(ok); });
    follower_.replica->attach(std::make_unique<WireEnd>(wire_, 1), 1, 3);
    leader_.replica->attach(std::make_unique<WireEnd>(wire_, 0), 1, 7);
    for (int rounds = 0; rounds < 100 && !report_.filled; ++rounds) {
      carry();
      clock_.run_for(std::chrono::milliseconds(10));
    }
    ASSERT_TRUE(report_.filled);
    EXPECT_EQ(leader_.all(), follower_.all());
  }
  void carry() {
    while (!wire_.items.empty() || !leader_.idle() || !follower_.idle()) {
      leader_.files_written();
      follower_.files_written();
      if (wire_.items.empty()) continue;
      clock_.run_for(travel_);
      const Wire::Item item = std::move(wire_.items.front());
      wire_.items.pop_front();
      auto* const receiver = wire_.receivers[static_cast<std::size_t>(item.to)];
      if (receiver == nullptr) continue;
      Buffer body;
      if (!item.body.empty()) {
        body = (item.to == 0 ? leader_ : follower_).buffers.take(item.body.size());
        std::ranges::copy(item.body, body.data());
      }
      receiver->on_message(item.head, std::move(body));
    }
  }
  [[nodiscard]] std::uint64_t messages(StreamOp op) { return wire_.messages[op]; }
  [[nodiscard]] std::uint64_t bytes(StreamOp op) { return wire_.bytes[op]; }

  NoLog sink_;
  LogOutput output_{sink_, LogLevel::error};
  SimClock clock_;
  Duration travel_{};  // of each message
  Wire wire_;
  Side leader_{clock_, Log(output_, "leader")};
  Side follower_{clock_, Log(output_, "follower")};
  Report report_;
};

TEST_F(ReplicaFill, SendsNothingOfWhatIsEqual) {
  leader_.put(0, blocks, std::byte{1});
  follower_.put(0, blocks, std::byte{1});
  follower_.put(77, 1, std::byte{2});
  fill();
  EXPECT_EQ(messages(StreamOp::sums), extents);
  EXPECT_EQ(bytes(StreamOp::write), sum_block_bytes);
}

TEST_F(ReplicaFill, AsksLittleWhereNothingIsEqual) {
  leader_.put(0, blocks, std::byte{1});
  fill();
  EXPECT_EQ(bytes(StreamOp::write), size_bytes);
  EXPECT_LE(messages(StreamOp::sums), 16 + extents / 16);
}

// The second half is equal: soon after it begins everything is compared again.
TEST_F(ReplicaFill, ComparesAgainAsSoonAsSomethingWasEqual) {
  leader_.put(0, blocks, std::byte{1});
  follower_.put(blocks / 2, blocks / 2, std::byte{1});
  fill();
  EXPECT_LE(bytes(StreamOp::write), size_bytes / 2 + 24 * extent_bytes);
  EXPECT_GE(messages(StreamOp::sums), extents / 2 - 24);
}

// What is scattered takes many writes for each chunk; none of them is an initiator's, for whom there would be pauses.
TEST_F(ReplicaFill, DoesNotMakeWayForItself) {
  travel_ = std::chrono::microseconds(100);
  leader_.put(0, blocks, std::byte{1});
  follower_.put(0, blocks, std::byte{1});
  for (std::uint64_t block = 0; block < blocks; block += 2) follower_.put(block, 1, std::byte{2});
  const TimePoint begun = clock_.now();
  fill();
  std::uint64_t all = 0;
  for (const auto& [op, count] : wire_.messages) all += count;
  EXPECT_LE(clock_.now() - begun, all * travel_ + std::chrono::milliseconds(100));
}

TEST_F(ReplicaFill, LeavesHolesInWhatItDoesNotCompare) {
  leader_.put(0, blocks, std::byte{1});
  follower_.put(0, blocks, std::byte{2});
  for (std::uint64_t extent = 40; extent < 80; ++extent) leader_.put(extent * extent_bytes / sum_block_bytes + 1, 2, std::byte{0});
  fill();
  EXPECT_EQ(bytes(StreamOp::zero), 40 * 2 * sum_block_bytes);
  EXPECT_EQ(bytes(StreamOp::write), size_bytes - 40 * 2 * sum_block_bytes);
}

}  // namespace
}  // namespace mpath::target::replication
