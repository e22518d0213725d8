#include "tests/support/pair_sim/sim_parts.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace mpath::target::replication::test {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

class LifeAlarm final : public Alarm {
 public:
  LifeAlarm(Life& life, std::function<void()> fire)
      : life_(life), fire_(std::make_shared<std::function<void()>>(std::move(fire))) {}
  ~LifeAlarm() override { cancel(); }
  void set(TimePoint at) override {
    cancel();
    if (at == never) return;
    const Duration delay = std::max(Duration{1}, life_.from_local(at - life_.local_now()));
    life_.in(delay, [number = number_, wanted = *number_, fire = fire_] {
      if (*number == wanted) (*fire)();
    });
  }
  void cancel() override { ++*number_; }

 private:
  Life& life_;
  std::shared_ptr<std::function<void()>> fire_;
  std::shared_ptr<std::uint64_t> number_ = std::make_shared<std::uint64_t>(0);
};

class SimStream final : public PeerStream {
 public:
  SimStream(std::shared_ptr<SimConnection> connection, int side) : connection_(std::move(connection)), side_(side) {}
  ~SimStream() override { SimStream::close(); }
  void start(Receiver& receiver) override { SimConnection::start(connection_, side_, receiver); }
  void send(const StreamHead& head, std::span<const iovec> body) override {
    SimConnection::send(connection_, side_, head, body);
  }
  void close() override { SimConnection::leave(connection_, side_); }

 private:
  std::shared_ptr<SimConnection> connection_;
  int side_;
};

}  // namespace

BlockBytes block_of(std::uint64_t value) {
  BlockBytes block{};
  std::memcpy(block.data(), &value, sizeof(value));
  // The whole block, so that a mixture of two is seen.
  if (value != 0) std::memcpy(block.data() + block_bytes - sizeof(value), &value, sizeof(value));
  return block;
}

std::uint64_t value_of(std::span<const std::byte> block) {
  std::uint64_t first = 0, last = 0;
  std::memcpy(&first, block.data(), sizeof(first));
  std::memcpy(&last, block.data() + block_bytes - sizeof(last), sizeof(last));
  return first == last ? first : ~std::uint64_t{0};
}

std::unique_ptr<Alarm> LifeClock::make_alarm(std::function<void()> fire) {
  return std::make_unique<LifeAlarm>(life_, std::move(fire));
}

// ---- the disk ------------------------------------------------------------------------------------------------------

SimStore::SimStore(Life& life, SimDisk& disk, unsigned slow_one_in)
    : StoreBase("sim", {.size_bytes = disk.cached.size() * block_bytes, .block_size = block_bytes}),
      life_(life),
      disk_(disk),
      slow_one_in_(slow_one_in) {}

void SimStore::submit(BlockRequest& request) noexcept {
  Pending pending{.id = next_++, .request = &request, .data = {}, .held = {}};
  if (request.op == BlockOp::write) {
    // In pieces of any size.
    std::vector<std::byte> bytes;
    for (const iovec& part : request.data) {
      const auto* const data = static_cast<const std::byte*>(part.iov_base);
      bytes.insert(bytes.end(), data, data + part.iov_len);
    }
    for (std::size_t at = 0; at < request.length; at += block_bytes) {
      BlockBytes block{};
      std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), block_bytes, block.begin());
      pending.data.push_back(block);
      pending.held.push_back(life_.holding(value_of(block)));
    }
  } else if (request.op == BlockOp::write_zeroes) {
    pending.data.resize(request.length / block_bytes);
  }
  const bool through = request.fua || request.op == BlockOp::flush;
  const Duration time = through ? microseconds(300 + life_.roll(life_.roll(50) == 0 ? 80000 : 3000))
                                : microseconds(5 + life_.roll(life_.roll(slow_one_in_) == 0 ? 20000 : 200));
  const std::uint64_t id = pending.id;
  pending_.emplace(id, std::move(pending));
  life_.in(time, [this, id] {
    const auto place = pending_.extract(id);
    if (!place.empty()) carry_out(place.mapped());
  });
}

void SimStore::write_block(const Pending& pending, std::size_t block) {
  disk_.cached[pending.request->offset / block_bytes + block] = pending.data[block];
}

void SimStore::carry_out(Pending& pending) {
  BlockRequest& request = *pending.request;
  if (disk_.fails) return finish(request, BlockStatus::io_error);
  const std::size_t first = request.offset / block_bytes;
  for (std::size_t block = 0; block < pending.data.size(); ++block) {
    write_block(pending, block);
    if (request.fua) disk_.durable[first + block] = disk_.cached[first + block];
  }
  if (request.op == BlockOp::flush) disk_.durable = disk_.cached;
  if (request.op == BlockOp::read) {
    std::size_t at = request.offset;
    for (const iovec& part : request.data) {
      for (std::size_t done = 0; done < part.iov_len; done += block_bytes, at += block_bytes) {
        std::memcpy(static_cast<std::byte*>(part.iov_base) + done, disk_.cached[at / block_bytes].data(), block_bytes);
      }
    }
  }
  finish(request, BlockStatus::ok);
}

void SimStore::end(bool power) {
  for (auto& [id, pending] : pending_) {
    for (std::size_t block = 0; block < pending.data.size() && !disk_.fails; ++block) {
      if (life_.roll(2) == 0) write_block(pending, block);
    }
  }
  pending_.clear();
  if (!power) return;
  for (std::size_t block = 0; block < disk_.cached.size(); ++block) {
    if (life_.roll(3) == 0) disk_.durable[block] = disk_.cached[block];  // written back by itself
    disk_.cached[block] = disk_.durable[block];
  }
}

// ---- files ---------------------------------------------------------------------------------------------------------

void SimMapStore::write(std::vector<DirtyMap::PageWrite> pages, std::function<void(error_code)> done) {
  under_way_ = std::move(pages);
  life_.in(microseconds(200 + life_.roll(life_.roll(40) == 0 ? 60000 : 2000)), [this, done = std::move(done)] {
    for (const DirtyMap::PageWrite& page : under_way_) file_.pages[page.index] = page.page;
    under_way_.clear();
    done({});
  });
}

void SimMapStore::end(bool power) {
  for (const DirtyMap::PageWrite& page : under_way_) {
    const auto fate = life_.roll(3);
    if (fate == 0) file_.pages[page.index] = page.page;
    // Half of it is new and half is old.
    if (fate == 1 && power) std::copy_n(page.page.begin(), page.page.size() / 2, file_.pages[page.index].begin());
  }
  under_way_.clear();
}

void SimStateLog::commit(const LuState& after, Done done) {
  under_way_ = after;
  life_.in(microseconds(200 + life_.roll(3000)), [this, done = std::move(done)] {
    durable_ = *std::exchange(under_way_, std::nullopt);
    done({});
  });
}

void SimStateLog::end() {
  if (under_way_ && life_.roll(2) == 0) durable_ = *under_way_;
  under_way_.reset();
}

// ---- connections ---------------------------------------------------------------------------------------------------

std::unique_ptr<PeerStream> SimConnection::stream(const std::shared_ptr<SimConnection>& connection, int side) {
  return std::make_unique<SimStream>(connection, side);
}

void SimConnection::start(const std::shared_ptr<SimConnection>& connection, int side, PeerStream::Receiver& receiver) {
  End& end = connection->end(side);
  if (end.life == nullptr) return;
  end.receiver = &receiver;
  for (std::size_t item = 0; item < end.inbox.size(); ++item) schedule(connection, side);
  if (connection->broken_) tell(connection, side, microseconds(1));
}

void SimConnection::send(const std::shared_ptr<SimConnection>& connection, int side, const StreamHead& head,
                         std::span<const iovec> body) {
  End& from = connection->end(side);
  End& to = connection->end(1 - side);
  if (from.life == nullptr || connection->broken_) return;
  End::Item item{.head = head, .body = {}, .held = {}};
  for (const iovec& part : body) {
    const auto* const data = static_cast<const std::byte*>(part.iov_base);
    item.body.insert(item.body.end(), data, data + part.iov_len);
  }
  if (head.op == StreamOp::write && !head.fill) {
    for (std::size_t at = 0; at < item.body.size(); at += block_bytes) {
      item.held.push_back(from.life->holding(value_of(std::span(item.body).subspan(at, block_bytes))));
    }
  }
  to.on_the_way.push_back(std::move(item));
  connection->net_.after(connection->net_.travel(), [connection, side] { arrive(connection, 1 - side); });
}

// Whatever was sent first arrives first.
void SimConnection::arrive(const std::shared_ptr<SimConnection>& connection, int side) {
  End& to = connection->end(side);
  const End& from = connection->end(1 - side);
  if (connection->broken_ || to.on_the_way.empty()) return;
  if (connection->net_.cut(from.member, to.member) || connection->net_.cut(to.member, from.member)) {
    return fall_apart(connection);
  }
  if (to.life == nullptr) return fall_apart(connection);
  to.inbox.push_back(std::move(to.on_the_way.front()));
  to.on_the_way.pop_front();
  if (to.receiver != nullptr) schedule(connection, side);
}

void SimConnection::schedule(const std::shared_ptr<SimConnection>& connection, int side) {
  connection->end(side).life->in(microseconds(1), [connection, side] {
    End& end = connection->end(side);
    if (end.life == nullptr || end.receiver == nullptr || end.inbox.empty()) return;
    const End::Item item = std::move(end.inbox.front());
    end.inbox.pop_front();
    Buffer body;
    if (!item.body.empty()) {
      body = end.buffers->take(item.body.size());
      std::ranges::copy(item.body, body.data());
    }
    end.receiver->on_message(item.head, std::move(body));
  });
}

void SimConnection::fall_apart(const std::shared_ptr<SimConnection>& connection) {
  if (std::exchange(connection->broken_, true)) return;
  for (const int side : {0, 1}) {
    connection->end(side).on_the_way.clear();
    tell(connection, side, milliseconds(1 + connection->net_.roll(900)));
  }
}

void SimConnection::tell(const std::shared_ptr<SimConnection>& connection, int side, Duration delay) {
  End& told = connection->end(side);
  if (told.life == nullptr) return;
  told.life->in(delay, [connection, side] {
    End& end = connection->end(side);
    if (end.life == nullptr || end.receiver == nullptr || std::exchange(end.told, true)) return;
    end.receiver->on_closed("cut");
  });
}

void SimConnection::leave(const std::shared_ptr<SimConnection>& connection, int side) {
  End& end = connection->end(side);
  if (end.life == nullptr) return;
  end.life = nullptr;
  end.receiver = nullptr;
  end.inbox.clear();
  // What was sent before still arrives, and then the end of it.
  if (connection->broken_) return;
  connection->net_.after(connection->net_.travel() + milliseconds(connection->net_.roll(5)), [connection, side] {
    if (connection->broken_) return;
    connection->broken_ = true;
    tell(connection, 1 - side, microseconds(1));
  });
}

}  // namespace mpath::target::replication::test
