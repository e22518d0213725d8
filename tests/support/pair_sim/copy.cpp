#include "tests/support/pair_sim/copy.hpp"

#include "tests/support/pair_sim/machine.hpp"

namespace mpath::target::replication::test {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration give_up = milliseconds(300);
constexpr Duration dial_pause = milliseconds(300);
constexpr ReplicaOptions replica_options{.fill_chunk_bytes = 1024,
                                         .fill_unlike_chunks = 2,
                                         .stream_grace = milliseconds(300),
                                         .peer_timeout = seconds(2),
                                         .clean_interval = milliseconds(300),
                                         .failed_pause = seconds(2)};

}  // namespace

class Copy::LifeOf final : public Life {
 public:
  LifeOf(Pair& pair, Member member) : pair_(pair), member_(member) {}
  void in(Duration delay, Task what) override { pair_.world.in(member_, delay, std::move(what)); }
  [[nodiscard]] TimePoint local_now() const override { return pair_.world.local(member_); }
  [[nodiscard]] Duration from_local(Duration duration) const override {
    return pair_.world.from_local(member_, duration);
  }
  [[nodiscard]] std::uint64_t roll(std::uint64_t sides) override { return pair_.world.roll(sides); }
  [[nodiscard]] std::shared_ptr<void> holding(std::uint64_t value) override { return pair_.history.holding(value); }

 private:
  Pair& pair_;
  Member member_;
};

// A command of a client.
struct Copy::Request : BlockRequest {
  Copy* copy = nullptr;
  std::shared_ptr<Write> write;  // none: a read or a flush
  TimePoint begun;               // of a flush
  std::size_t block = 0;
  BlockBytes bytes{};
  iovec part{};
};

// A command of a client to the cell: a read, and a write if that found what was expected.
struct Copy::CellRequest : BlockRequest {
  Copy* copy = nullptr;
  std::shared_ptr<CellOp> operation;
  RangeLock lock;
  BlockBytes bytes{};
  iovec part{};
};

// A planted bug: answers writes by itself, at once, or says that they came; or lets later ones overtake.
class Copy::FaultyStream final : public PeerStream {
 public:
  FaultyStream(Bug bug, std::unique_ptr<PeerStream> stream, std::shared_ptr<SimConnection> connection)
      : bug_(bug), stream_(std::move(stream)), connection_(std::move(connection)) {}
  [[nodiscard]] static bool has(Bug bug) {
    return bug == Bug::ack_before_peer || bug == Bug::hasty_receipt || bug == Bug::disordered_stream;
  }
  void start(Receiver& receiver) override { stream_->start(receiver); }
  void send(const StreamHead& head, std::span<const iovec> body) override {
    Life* const life = connection_->end(0).life;
    const bool of_client = head.op == StreamOp::write && !head.fill && life != nullptr;
    if (of_client && bug_ == Bug::disordered_stream && life->roll(3) == 0) return send_later(*life, head, body);
    stream_->send(head, body);
    if (!of_client || bug_ == Bug::disordered_stream) return;
    const StreamOp op = bug_ == Bug::hasty_receipt ? StreamOp::received : StreamOp::ack;
    life->in(microseconds(1), [connection = connection_, op, sequence = head.sequence] {
      SimConnection::End& end = connection->end(0);
      if (end.receiver != nullptr) end.receiver->on_message({.op = op, .sequence = sequence}, {});
    });
  }
  void close() override { stream_->close(); }

 private:
  void send_later(Life& life, const StreamHead& head, std::span<const iovec> body) {
    std::vector<std::byte> bytes;
    for (const iovec& part : body) {
      const auto* const data = static_cast<const std::byte*>(part.iov_base);
      bytes.insert(bytes.end(), data, data + part.iov_len);
    }
    life.in(milliseconds(30), [connection = connection_, head, bytes = std::move(bytes)]() mutable {
      const iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
      SimConnection::send(connection, 0, head, {&part, 1});
    });
  }

  const Bug bug_;
  std::unique_ptr<PeerStream> stream_;
  std::shared_ptr<SimConnection> connection_;
};

// Now and then its process ends when it has just said that a write came.
class Copy::MortalStream final : public PeerStream {
 public:
  MortalStream(Copy& copy, std::unique_ptr<PeerStream> stream) : copy_(copy), stream_(std::move(stream)) {}
  void start(Receiver& receiver) override { stream_->start(receiver); }
  void send(const StreamHead& head, std::span<const iovec> body) override {
    stream_->send(head, body);
    Pair& pair = copy_.pair_;
    if (head.op != StreamOp::received || pair.mended || !pair.world.chance(1)) return;
    pair.world.in(copy_.self_, microseconds(1), [&pair, self = copy_.self_] { pair.kill_both(self); });
  }
  void close() override { stream_->close(); }

 private:
  Copy& copy_;
  std::unique_ptr<PeerStream> stream_;
};

// ---- its life ------------------------------------------------------------------------------------------------------

DirtyMap::Shape Copy::shape() {
  return {.unit = {}, .size_bytes = (blocks + 1) * block_bytes, .extent_bytes = 1024};
}

void Copy::format(SimMedia& media) {
  media.disk.cached.resize(blocks + 1);
  media.disk.durable.resize(blocks + 1);
  DirtyMap empty(shape());
  empty.mark(empty.all());
  for (std::uint64_t extent = 0; extent < empty.all().last; ++extent) empty.clear(extent);
  media.map.pages.resize(shape().pages());
  for (const auto& page : empty.begin_write()) media.map.pages[page.index] = page.page;
}

void Copy::mark_all(SimMedia& media) {
  DirtyMap full(shape());
  full.mark(full.all());
  for (const auto& page : full.begin_write()) media.map.pages[page.index] = page.page;
}

Copy::Copy(Pair& pair, Member self, Machine& machine)
    : pair_(pair),
      self_(self),
      machine_(machine),
      life_(std::make_unique<LifeOf>(pair, self)),
      clock_(*life_),
      // With A and B more is to be under way when something goes wrong.
      store_(*life_, machine.media().disk, pair.options.protocol == Protocol::c ? 50 : 6),
      map_store_(*life_, machine.media().map),
      state_log_(*life_, machine.media().state),
      roles_(std::make_unique<Roles>(*machine.fsm(), self, 1, give_up)),
      state_(machine.media().state) {
  SimMedia& media = machine.media();
  media.disk.fails = false;  // somebody has replaced the cable
  DirtyMap map(shape());
  for (std::uint32_t page = 0; page < media.map.pages.size(); ++page) {
    if (pair_.options.bug != Bug::lose_dirty_map && !map.load(page, media.map.pages[page]))
      pair_.world.violated("a map of another");
  }
  const Replica::Seams seams{.local = store_,
                             .map_store = map_store_,
                             .local_state = state_log_,
                             .serving = serving_,
                             .clock = clock_,
                             .buffers = buffers_};
  replica_ = std::make_unique<Replica>(seams, std::move(map), media.state, replica_options,
                                       Log(pair_.world.log(), std::string(name(self_))));
  const std::size_t early_max = pair_.options.bug == Bug::wide_window ? blocks : early_blocks_max;
  replica_->set_protocol(pair_.options.protocol, early_max * block_bytes);
  replica_->on_report = [this](const Report& told) { report(told); };
  replica_->on_state = [this](const LuState& state) { state_ = state; };
}

Copy::~Copy() {
  for (const auto& [weak, side] : connections_) {
    if (const auto connection = weak.lock()) SimConnection::leave(connection, side);
  }
  replica_.reset();
}

void Copy::end(bool power) {
  store_.end(power);
  map_store_.end(power);
  state_log_.end();
}

// ---- with the agreement --------------------------------------------------------------------------------------------

void Copy::report(const Report& told) {
  reports_.push_back(told);
  pair_.world.in(self_, microseconds(10 + pair_.world.roll(100)), [this] {
    const Report next = std::move(reports_.front());
    reports_.pop_front();
    roles_->on_report(0, next, clock_.now());
    machine_.follow();
  });
}

void Copy::give_orders() {
  const bool blind = pair_.options.bug == Bug::ignore_lease && machine_.fsm()->primary() && roles_->ready();
  serving_.set_until(blind ? never : roles_->serving_until(clock_.now()));
  Orders orders = roles_->orders(0);
  if (pair_.options.bug == Bug::skip_outdating && peer_unheard()) orders.peer_needed = false;
  if (given_ == orders) return;
  given_ = orders;
  orders_.push_back(orders);
  pair_.world.in(self_, microseconds(10 + pair_.world.roll(200)), [this] {
    const Orders next = orders_.front();
    orders_.pop_front();
    replica_->set_orders(next);
  });
}

bool Copy::peer_unheard() const {
  const Member peer = peer_of(self_);
  return !pair_.world.up(peer) || pair_.world.cut(peer, self_) || pair_.world.cut(self_, peer);
}

// ---- streams -------------------------------------------------------------------------------------------------------

// The leader connects; the follower looks whether it may, ends what was there before, and both have a stream.
void Copy::dial_if_wanted() {
  if (!roles_->report(0).wants_stream || dialing_) return;
  World& world = pair_.world;
  dialing_ = true;
  world.in(self_, dial_pause, [this] { dialing_ = false; });
  Machine& receiver = pair_.at(peer_of(self_));
  world.deliver(self_, peer_of(self_),
                [&receiver, caller = self_, view = machine_.fsm()->view(), term = roles_->orders(0).term,
                 life = world.life(self_)] {
                  if (receiver.copy() == nullptr) return;
                  receiver.fsm()->hear_of(view, receiver.local());
                  receiver.follow();
                  if (receiver.fsm()->takes_writes_of(caller, view.number))
                    receiver.copy()->take_caller(caller, life, term);
                });
}

// On the follower: the leader in this life of it, under this term of its own, wants a stream.
void Copy::take_caller(Member caller, std::uint64_t life, std::uint64_t term) {
  const std::uint64_t own_term = roles_->orders(0).term;
  replica_->prepare_to_follow(own_term, [this, caller, life, term, own_term](bool ok) {
    if (!ok) return;
    machine_.note_follows();
    pair_.world.in(self_, microseconds(1), [this, caller, life, term, own_term] {
      World& world = pair_.world;
      Copy* const leader = pair_.at(caller).copy();
      if (world.life(caller) != life || leader == nullptr) return;
      const auto connection = std::make_shared<SimConnection>(world);
      take_connection(connection, 1);
      replica_->attach(std::make_unique<MortalStream>(*this, SimConnection::stream(connection, 1)), own_term, life);
      leader->take_connection(connection, 0);
      world.in(caller, world.travel(), [leader, connection, term, own_life = world.life(self_)] {
        auto stream = SimConnection::stream(connection, 0);
        const Bug bug = leader->pair_.options.bug;
        if (FaultyStream::has(bug)) stream = std::make_unique<FaultyStream>(bug, std::move(stream), connection);
        leader->replica_->attach(std::move(stream), term, own_life);
      });
    });
  });
}

void Copy::take_connection(const std::shared_ptr<SimConnection>& connection, int side) {
  SimConnection::End& end = connection->end(side);
  end.member = self_;
  end.life = life_.get();
  end.buffers = &buffers_;
  std::erase_if(connections_, [](const auto& known) { return known.first.expired(); });
  connections_.emplace_back(connection, side);
}

// ---- commands ------------------------------------------------------------------------------------------------------

void Copy::read(std::size_t block) {
  command(block, nullptr);
}

void Copy::write(const std::shared_ptr<Write>& write) {
  command(write->block, write);
}

void Copy::command(std::size_t block, const std::shared_ptr<Write>& write) {
  auto made = std::make_unique<Request>();
  Request& request = *made;
  request.copy = this;
  request.write = write;
  request.block = block;
  request.op = write != nullptr ? BlockOp::write : BlockOp::read;
  request.fua = write != nullptr && write->through;
  request.offset = block * block_bytes;
  request.length = block_bytes;
  if (write != nullptr) request.bytes = block_of(write->value);
  request.part = {.iov_base = request.bytes.data(), .iov_len = block_bytes};
  request.data = {&request.part, 1};
  request.done = [](BlockRequest& ended) noexcept {
    Request& own = static_cast<Request&>(ended);
    own.copy->answered(own);
  };
  requests_.emplace(&request, std::move(made));
  if (pair_.options.bug == Bug::dirty_reads && write == nullptr) {
    store_.submit(request);
  } else {
    replica_->submit(request);
  }
}

void Copy::answered(Request& request) {
  const auto own = requests_.extract(&request);
  if (request.status != BlockStatus::ok) return;
  const bool old_view = pair_.at_old_view(self_);
  if (request.write == nullptr) {
    const std::uint64_t value = value_of(request.bytes);
    ++pair_.result.reads_answered;
    pair_.history.each_side(self_, old_view, [&](History& side) {
      if (side.seen(request.block, value)) return;
      pair_.world.violated(fmt::format("{} reads {} from block {}, which can only hold {}", name(self_), value,
                                       request.block, side.possible(request.block)));
    });
    return;
  }
  written(*request.write);
}

void Copy::written(Write& write) {
  if (write.answered || write.abandoned) return;
  write.answered = true;
  ++pair_.result.writes_acknowledged;
  const TimePoint now = pair_.world.now();
  pair_.history.each_side(self_, pair_.at_old_view(self_), [&](History& side) {
    if (pair_.options.protocol == Protocol::a && !write.through) return side.acknowledged_early(write, now);
    side.acknowledged(write);
    side.barrier(write.begun);
  });
}

void Copy::flush() {
  auto made = std::make_unique<Request>();
  Request& request = *made;
  request.copy = this;
  request.op = BlockOp::flush;
  request.begun = pair_.world.now();
  request.done = [](BlockRequest& ended) noexcept {
    Request& own = static_cast<Request&>(ended);
    Copy& copy = *own.copy;
    const auto kept = copy.requests_.extract(&ended);
    if (own.status == BlockStatus::ok) copy.flushed(own.begun);
  };
  requests_.emplace(&request, std::move(made));
  if (pair_.options.bug == Bug::flush_apart) return store_.submit(request);
  replica_->submit(request);
}

void Copy::flushed(TimePoint begun) {
  ++pair_.result.flushes;
  pair_.history.each_side(self_, pair_.at_old_view(self_), [&](History& side) { side.barrier(begun); });
}

void Copy::use_cell(const std::shared_ptr<CellOp>& op) {
  auto made = std::make_unique<CellRequest>();
  CellRequest& request = *made;
  request.copy = this;
  request.operation = op;
  request.offset = cell * block_bytes;
  request.length = block_bytes;
  request.part = {.iov_base = request.bytes.data(), .iov_len = block_bytes};
  request.data = {&request.part, 1};
  request.lock.first = cell;
  request.lock.count = 1;
  request.lock.exclusive = op->value && pair_.options.bug != Bug::compare_apart;
  request.lock.owner = &request;
  request.lock.granted = [](RangeLock& lock) noexcept {
    CellRequest& own = *static_cast<CellRequest*>(lock.owner);
    own.copy->cell_locked(own);
  };
  cell_requests_.emplace(&request, std::move(made));
  if (locks_.lock(request.lock)) cell_locked(request);
}

void Copy::cell_locked(CellRequest& request) {
  request.op = BlockOp::read;
  request.done = [](BlockRequest& ended) noexcept {
    CellRequest& own = static_cast<CellRequest&>(ended);
    own.copy->cell_read(own);
  };
  replica_->submit(request);
}

void Copy::cell_read(CellRequest& request) {
  CellOp& op = *request.operation;
  if (request.status != BlockStatus::ok) return cell_ended(request, false);
  const std::uint64_t found = value_of(request.bytes);
  if (!op.value || found != op.expected) {
    op.read = found;
    return cell_ended(request, true);
  }
  request.bytes = block_of(*op.value);
  request.op = BlockOp::write;
  request.fua = true;
  request.done = [](BlockRequest& ended) noexcept {
    CellRequest& own = static_cast<CellRequest&>(ended);
    own.copy->cell_ended(own, own.status == BlockStatus::ok);
  };
  replica_->submit(request);
}

// `told`: its client is.
void Copy::cell_ended(CellRequest& request, bool told) {
  const auto own = cell_requests_.extract(&request);
  CellOp& op = *request.operation;
  if (told) op.ended = pair_.world.now();
  if (told && op.written())
    pair_.history.each_side(self_, pair_.at_old_view(self_), [&](History& side) { side.barrier(op.begun); });
  locks_.release(request.lock);
}

void Copy::change_state(const LuState& next, std::function<void()> done) {
  changing_state_ = true;
  replica_->commit(next, [this, next, done = std::move(done)](error_code error) {
    changing_state_ = false;
    if (error) return;
    state_ = next;
    done();
  });
}

}  // namespace mpath::target::replication::test
