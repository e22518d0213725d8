// What a simulated machine is made of below the real logic: a clock that runs at its own rate, a disk with a cache, the
// files of the map and of the SCSI state, and connections that can break.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "target/replication/replica.hpp"
#include "target/store/store_base.hpp"

namespace mpath::target::replication::test {

inline constexpr std::size_t block_bytes = 512;
using BlockBytes = std::array<std::byte, block_bytes>;

[[nodiscard]] BlockBytes block_of(std::uint64_t value);
[[nodiscard]] std::uint64_t value_of(std::span<const std::byte> block);

// One life of a machine: what is asked for happens later, not while it is paused, and never when the life has ended.
using Task = std::move_only_function<void()>;
class Life {
 public:
  virtual ~Life() = default;
  virtual void in(Duration delay, Task what) = 0;
  [[nodiscard]] virtual TimePoint local_now() const = 0;
  [[nodiscard]] virtual Duration from_local(Duration duration) const = 0;
  [[nodiscard]] virtual std::uint64_t roll(std::uint64_t sides) = 0;
  // Somebody who keeps data of a write that may still be carried out. Empty when it is none of a client's.
  [[nodiscard]] virtual std::shared_ptr<void> holding(std::uint64_t value) = 0;
};

class LifeClock final : public Clock {
 public:
  explicit LifeClock(Life& life) : life_(life) {}
  [[nodiscard]] TimePoint now() const override { return life_.local_now(); }
  [[nodiscard]] std::unique_ptr<Alarm> make_alarm(std::function<void()> fire) override;

 private:
  Life& life_;
};

// The medium: what is cached outlives a process, what is durable a loss of power.
struct SimDisk {
  std::vector<BlockBytes> cached, durable;
  bool fails = false;  // until somebody replaces it
};

class SimStore final : public StoreBase {
 public:
  // One write in `slow_one_in` takes long.
  SimStore(Life& life, SimDisk& disk, unsigned slow_one_in);
  void submit(BlockRequest& request) noexcept override;
  void submit_atomic(BlockRequest& request) noexcept override { submit(request); }
  void grow(std::uint64_t, std::function<void(error_code)> done) override { done({}); }
  [[nodiscard]] Usage usage() const override { return {}; }
  [[nodiscard]] std::uint32_t atomic_bytes_max() const override { return 0; }
  void close(std::function<void(error_code)> closed) override { closed({}); }
  [[nodiscard]] StoreEngine engine() const override { return StoreEngine::threads; }
  [[nodiscard]] std::uint64_t system_calls() const override { return 0; }
  // The process ends, or the power: what was under way is carried out in part.
  void end(bool power);

 private:
  struct Pending {
    std::uint64_t id = 0;
    BlockRequest* request = nullptr;
    std::vector<BlockBytes> data;  // write: as it was when it was submitted
    std::vector<std::shared_ptr<void>> held;
  };
  void carry_out(Pending& pending);
  void write_block(const Pending& pending, std::size_t block);

  Life& life_;
  SimDisk& disk_;
  const unsigned slow_one_in_;
  std::uint64_t next_ = 1;
  std::map<std::uint64_t, Pending> pending_;
};

// The map's file. `pages` are what is on the medium.
struct SimMapFile {
  std::vector<DirtyMap::Page> pages;
};
class SimMapStore final : public MapStore {
 public:
  SimMapStore(Life& life, SimMapFile& file) : life_(life), file_(file) {}
  void write(std::vector<DirtyMap::PageWrite> pages, std::function<void(error_code)> done) override;
  void end(bool power);

 private:
  Life& life_;
  SimMapFile& file_;
  std::vector<DirtyMap::PageWrite> under_way_;
};

class SimStateLog final : public StateLog {
 public:
  SimStateLog(Life& life, LuState& durable) : life_(life), durable_(durable) {}
  void commit(const LuState& after, Done done) override;
  void end();

 private:
  Life& life_;
  LuState& durable_;
  std::optional<LuState> under_way_;
};

// What of a node outlives its processes.
struct SimMedia {
  SimDisk disk;
  SimMapFile map;
  LuState state;
};

// Two ends of a connection, and what is on its way.
class SimConnection {
 public:
  struct Net {
    virtual ~Net() = default;
    virtual void after(Duration delay, Task what) = 0;
    virtual Duration travel() = 0;
    [[nodiscard]] virtual bool cut(Member from, Member to) const = 0;
    [[nodiscard]] virtual std::uint64_t roll(std::uint64_t sides) = 0;
  };
  struct End {
    Member member = Member::a;
    Life* life = nullptr;  // null: closed, or its life has ended
    BufferPool* buffers = nullptr;
    PeerStream::Receiver* receiver = nullptr;
    struct Item {
      StreamHead head;
      std::vector<std::byte> body;
      std::vector<std::shared_ptr<void>> held;
    };
    std::deque<Item> on_the_way, inbox;
    bool told = false;  // that it has ended
  };

  explicit SimConnection(Net& net) : net_(net) {}
  [[nodiscard]] End& end(int side) { return ends_[static_cast<std::size_t>(side)]; }
  // The stream for one side; the connection is shared by both.
  [[nodiscard]] static std::unique_ptr<PeerStream> stream(const std::shared_ptr<SimConnection>& connection, int side);
  // A side's life has ended, or it closed.
  static void leave(const std::shared_ptr<SimConnection>& connection, int side);
  static void send(const std::shared_ptr<SimConnection>& connection, int side, const StreamHead& head,
                   std::span<const iovec> body);
  static void start(const std::shared_ptr<SimConnection>& connection, int side, PeerStream::Receiver& receiver);
  [[nodiscard]] bool broken() const { return broken_; }

 private:
  static void arrive(const std::shared_ptr<SimConnection>& connection, int side);
  static void schedule(const std::shared_ptr<SimConnection>& connection, int side);
  static void tell(const std::shared_ptr<SimConnection>& connection, int side, Duration delay);
  static void fall_apart(const std::shared_ptr<SimConnection>& connection);

  Net& net_;
  std::array<End, 2> ends_;
  bool broken_ = false;
};

}  // namespace mpath::target::replication::test
