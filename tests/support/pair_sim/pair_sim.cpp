#include "tests/support/pair_sim/pair_sim.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <optional>
#include <queue>

namespace mpath::target::replication::test {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t blocks = 6;
constexpr std::uint64_t nothing = 0;
const std::array<Member, 3> everybody{Member::a, Member::b, Member::witness};

struct Violation {
  std::string what;
};

// A client's write, from its birth until nobody can apply it any more.
struct Write {
  std::size_t block = 0;
  std::uint64_t value = nothing;
  bool through = false;    // FUA
  bool answered = false;   // its client knows that it is done
  bool abandoned = false;  // its client has given up: an answer would reach nobody
};
using WritePointer = std::shared_ptr<Write>;

// What a block may hold, seen from outside.
struct History {
  std::set<std::uint64_t> possible{nothing};
  std::vector<std::weak_ptr<Write>> open;             // that may not have ended
  std::vector<std::uint64_t> since_through{nothing};  // what may be left when all power is lost: all since the last FUA
};

// On its way to the peer until the peer has it.
struct Pending {
  WritePointer write;
  std::uint64_t sequence = 0;
  MemberSet held;
  Member came_to = Member::a;
};

struct Block {
  std::uint64_t cached = nothing;
  std::uint64_t durable = nothing;
  std::uint64_t sequence = 0;
};

class Sim;

struct Machine {
  Member self = Member::a;
  bool up = false;
  TimePoint paused_until = TimePoint::min();
  double rate = 1.0;
  std::uint64_t life = 0;  // another one after each start
  // Durable.
  VoteRecord record;
  bool suspect = false;  // as the boot identifier in the metadata would tell
  std::array<Block, blocks> disk;
  // Of this life.
  std::unique_ptr<NodeFsm> fsm;
  std::unique_ptr<WitnessFsm> witness;
  bool persisting = false;
  std::deque<Action> held_back;  // behind a record that is being written
  std::deque<std::function<void()>> asleep;
  std::vector<Pending> pending;
  std::uint64_t next_sequence = 1;
  bool filling = false;
  std::set<std::size_t> to_fill;
  bool fill_said = false;  // the logic knows
  std::uint64_t fill_view = 0;
  std::uint64_t fill_life = 0;  // of the peer
  bool draining = false;
  bool alarmed = false;
};

class Sim {
 public:
  explicit Sim(const SimOptions& options) : options_(options), random_(options.seed) {
    for (const Member member : everybody) {
      Machine& machine = at(member);
      machine.self = member;
      machine.rate = 1.0 + (static_cast<double>(roll(2001)) - 1000.0) / 1000.0 * 0.009;  // within the drift of 2 %
      machine.record.decided = {.number = 1, .primary = Member::a, .in_sync = {Member::a, Member::b}};
    }
  }

  SimResult run() {
    try {
      for (const Member member : everybody) {
        if (member != Member::witness || options_.witness) start(member);
      }
      for (std::size_t block = 0; block < blocks; ++block) client(block);
      mischief();
      run_until(begin_ + options_.storm);
      mend();
      // With everything mended one node serves soon, and both hold the same after a while.
      run_until(now_ + seconds(60));
      check_end();
    } catch (const Violation& violation) {
      result_.violation = fmt::format("{:.6f} s: {}", since_begin(), violation.what);
    }
    result_.trace.assign(trace_.begin(), trace_.end());
    return std::move(result_);
  }

 private:
  Machine& at(Member member) { return machines_[static_cast<std::size_t>(member)]; }
  std::uint64_t roll(std::uint64_t sides) { return random_() % sides; }
  bool chance(unsigned percent) { return roll(100) < percent; }
  [[nodiscard]] double since_begin() const { return std::chrono::duration<double>(now_ - begin_).count(); }
  void note(const std::string& text) {
    trace_.push_back(fmt::format("{:.6f} {}", since_begin(), text));
    if (trace_.size() > 400) trace_.pop_front();
  }
  [[noreturn]] static void violated(std::string what) { throw Violation{std::move(what)}; }

  // --- time
  // -----------------------------------------------------------------------------------------------------------
  struct Event {
    TimePoint when;
    std::uint64_t order;
    std::function<void()> what;
    bool operator>(const Event& other) const { return std::tie(when, order) > std::tie(other.when, other.order); }
  };
  void after(Duration delay, std::function<void()> what) { events_.push({now_ + delay, order_++, std::move(what)}); }
  void run_until(TimePoint end) {
    while (!events_.empty() && events_.top().when <= end) {
      Event event = events_.top();
      events_.pop();
      now_ = event.when;
      ++result_.events;
      event.what();
      check_always();
    }
    now_ = end;
  }
  [[nodiscard]] TimePoint local(const Machine& machine) const {
    const auto passed = std::chrono::duration<double>(now_ - begin_).count() * machine.rate;
    return begin_ + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(passed));
  }
  // Runs in a machine's life: later when it is paused, never when that life has ended.
  void in(Member member, Duration delay, std::function<void()> what) {
    after(delay, [this, member, life = at(member).life, what = std::move(what)] {
      Machine& machine = at(member);
      if (!machine.up || machine.life != life) return;
      if (now_ < machine.paused_until) {
        machine.asleep.push_back(what);
      } else {
        what();
      }
    });
  }

  // --- links
  // ----------------------------------------------------------------------------------------------------------
  [[nodiscard]] bool cut(Member from, Member to) const {
    return cut_[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)];
  }
  Duration travel() { return microseconds(100 + roll(chance(3) ? 150000 : 3000)); }
  void deliver(Member from, Member to, std::function<void()> what) {
    if (from != to && (cut(from, to) || chance(loss_))) return;
    const int copies = from != to && chance(2) ? 2 : 1;
    for (int copy = 0; copy < copies; ++copy) {
      const Duration delay = from == to ? microseconds(10) : travel();
      after(delay, [this, from, to, what] {
        Machine& machine = at(to);
        if (!machine.up || (from != to && cut(from, to))) return;
        if (now_ < machine.paused_until) {
          machine.asleep.push_back(what);
        } else {
          what();
        }
      });
    }
  }

  // --- a member's life
  // --------------------------------------------------------------------------------------------------
  void start(Member member) {
    Machine& machine = at(member);
    machine.up = true;
    ++machine.life;
    note(fmt::format("{} starts{} record={}", name(member), machine.suspect ? " suspect" : "",
                     format_view(machine.record.decided)));
    if (member == Member::witness) {
      machine.witness = std::make_unique<WitnessFsm>(machine.record, NodeOptions().lease, machine.life, local(machine));
      return;
    }
    NodeOptions node{.self = member, .witness = options_.witness, .on_peer_loss = options_.on_peer_loss};
    const bool admits = machine.suspect && options_.bug != Bug::trust_lost_memory;
    machine.fsm = std::make_unique<NodeFsm>(node, machine.record, admits, machine.life, local(machine));
    tick(member);
  }

  void stop(Member member, bool power) {
    Machine& machine = at(member);
    if (!machine.up) return;
    note(fmt::format("{} {}", name(member), power ? "loses power" : "is killed"));
    machine.up = false;
    ++machine.life;
    machine.fsm.reset();
    machine.witness.reset();
    machine.persisting = false;
    machine.held_back.clear();
    machine.asleep.clear();
    machine.pending.clear();
    machine.to_fill.clear();
    machine.filling = machine.draining = machine.alarmed = false;
    machine.paused_until = TimePoint::min();
    ++(power ? result_.power_cuts : result_.kills);
    // As if answers had left before the record was durable.
    if (options_.bug == Bug::forget_votes) {
      machine.record.promised = {};
      machine.record.accepted.reset();
    }
    if (!power) return;
    if (member == Member::witness) return;
    for (Block& block : machine.disk) block.cached = block.durable;
    // As the metadata would say: it does not know whether anything was in the cache.
    machine.suspect = true;
    total_loss();
  }

  // Power was lost on every node that held everything: whatever was not synchronised may be gone, as on any disk.
  void total_loss() { total_loss(view_in_truth()); }
  void total_loss(const View& view) {
    for (const Member member : {Member::a, Member::b}) {
      if (view.in_sync.has(member) && !at(member).suspect) return;
    }
    for (std::size_t block = 0; block < blocks; ++block) {
      History& history = histories_[block];
      history.possible.insert(history.since_through.begin(), history.since_through.end());
    }
    note("nobody holds everything any more");
  }

  void pause(Member member, Duration how_long) {
    Machine& machine = at(member);
    if (!machine.up || now_ < machine.paused_until) return;
    note(fmt::format("{} pauses for {} ms", name(member), how_long / milliseconds(1)));
    machine.paused_until = now_ + how_long;
    after(how_long, [this, member, life = machine.life] {
      Machine& woken = at(member);
      if (!woken.up || woken.life != life) return;
      // What came meanwhile is found in any order.
      std::deque<std::function<void()>> found = std::move(woken.asleep);
      woken.asleep.clear();
      std::shuffle(found.begin(), found.end(), random_);
      for (const auto& what : found) {
        if (woken.up && woken.life == life) what();
      }
    });
  }

  void tick(Member member) {
    Machine& machine = at(member);
    machine.fsm->on_time(local(machine));
    follow(member);
    retransmit(member);
    const Duration wait =
        std::clamp<Duration>(machine.fsm->wake_at() - local(machine), milliseconds(1), milliseconds(50));
    in(member, wait, [this, member] { tick(member); });
  }

  // Does what the logic wants, in order; what rests on a record waits until that is durable.
  void follow(Member member) {
    Machine& machine = at(member);
    auto actions = machine.fsm ? machine.fsm->take_actions() : machine.witness->take_actions();
    for (Action& action : actions) {
      auto* const send = std::get_if<Send>(&action);
      const bool free = send != nullptr && !send->after_persist;
      if (!free && machine.persisting) {
        machine.held_back.push_back(std::move(action));
      } else {
        act(member, std::move(action));
      }
    }
    if (machine.fsm) after_change(member);
  }

  void act(Member member, Action action) {
    Machine& machine = at(member);
    if (auto* const send = std::get_if<Send>(&action)) {
      deliver(member, send->to, [this, to = send->to, message = send->message] {
        Machine& receiver = at(to);
        if (receiver.fsm) receiver.fsm->on_message(message, local(receiver));
        if (receiver.witness) receiver.witness->on_message(message, local(receiver));
        follow(to);
      });
    } else if (auto* const persist = std::get_if<Persist>(&action)) {
      machine.persisting = true;
      const auto& vote = persist->record.accepted;
      if (vote && vote->ballot.proposer == member && !machine.suspect)
        proposed_soundly_.insert(format_view(vote->view));
      in(member, microseconds(200 + roll(chance(5) ? 60000 : 2000)), [this, member, record = persist->record] {
        Machine& now_durable = at(member);
        // Some lives end just before a record is written, or when it was and nobody has heard of it.
        const auto end = mended_ ? 99 : roll(100);
        if (end == 0) return stop(member, chance(50));
        now_durable.record = record;
        if (end == 1) return stop(member, chance(50));
        now_durable.persisting = false;
        std::deque<Action> next = std::move(now_durable.held_back);
        now_durable.held_back.clear();
        for (Action& each : next) {
          if (now_durable.persisting) {
            now_durable.held_back.push_back(std::move(each));
          } else {
            act(member, std::move(each));
          }
        }
      });
    } else {
      in(member, milliseconds(20 + roll(2000)), [this, member] {
        // A fence handler that says yes has switched the peer off.
        const Member peer = peer_of(member);
        const bool works = chance(80);
        if (works) {
          if (at(peer).up) stop(peer, true);
          fenced_ = peer;
          // The administrator switches it on again.
          after(seconds(4), [this, peer] {
            if (!at(peer).up && mended_) start(peer);
          });
        }
        at(member).fsm->on_fenced(works, local(at(member)));
        follow(member);
      });
    }
  }

  // --- the data path, as a model
  // ----------------------------------------------------------------------------------------
  [[nodiscard]] bool serves(Machine& machine) const {
    if (options_.bug == Bug::ignore_lease) return machine.fsm->primary();
    return machine.fsm->may_serve(local(machine));
  }

  void after_change(Member member) {
    Machine& machine = at(member);
    const View& view = machine.fsm->view();
    highest_ = std::max(highest_, view, [](const View& left, const View& right) { return left.number < right.number; });
    learned(view);
    if (!machine.fsm->primary()) {
      machine.pending.clear();
      machine.to_fill.clear();
      machine.filling = machine.draining = false;
    }
    if (!machine.fsm->suspect()) machine.suspect = false;
    settle(member);
    if (machine.fsm->primary() && !view.in_sync.has(peer_of(member)) && machine.fsm->may_serve(local(machine)) &&
        (!machine.filling || machine.fill_view != view.number) && !machine.fsm->record().accepted) {
      begin_fill(machine);
    }
  }

  void begin_fill(Machine& machine) {
    machine.filling = true;
    machine.fill_said = false;
    machine.fill_view = machine.fsm->view().number;
    machine.fill_life = at(peer_of(machine.self)).life;
    machine.to_fill.clear();
    for (std::size_t block = 0; block < blocks; ++block) {
      if (options_.bug != Bug::lose_dirty_map || block > 0) machine.to_fill.insert(block);
    }
  }

  // Nothing differs: the peer synchronises and says so.
  void end_fill(Member member) {
    const Member peer = peer_of(member);
    const std::uint64_t number = at(member).fsm->view().number;
    deliver(member, peer, [this, member, peer, number, life = at(member).fill_life, from_life = at(member).life] {
      Machine& receiver = at(peer);
      if (receiver.life != life || !receiver.fsm->takes_writes_of(member, number)) return;
      for (std::size_t block = 0; block < blocks; ++block) make_durable(receiver, block);
      receiver.suspect = false;
      receiver.fsm->filled();
      deliver(peer, member, [this, member, number, life, from_life] {
        Machine& owner = at(member);
        if (owner.life != from_life || owner.fsm->view().number != number || owner.fill_life != life) return;
        if (!owner.filling || !owner.to_fill.empty()) return;
        note(fmt::format("{} has filled its peer", name(member)));
        owner.fill_said = true;
        owner.fsm->peer_filled(life, local(owner));
        follow(member);
      });
    });
  }

  // A client's command at a node.
  void command(Member member, const WritePointer& write) {
    Machine& machine = at(member);
    if (machine.draining || !serves(machine)) return;
    Pending pending{.write = write,
                    .sequence = machine.fsm->view().number << 32U | machine.next_sequence++,
                    .held = {},
                    .came_to = member};
    apply(machine, write->block, write->value, pending.sequence, false);
    machine.pending.push_back(pending);
    // Into the cache at once, or through it after a while.
    const auto arrived = [this, member, sequence = pending.sequence] {
      Machine& holder = at(member);
      for (Pending& each : holder.pending) {
        if (each.sequence != sequence) continue;
        if (each.write->through) make_durable(holder, each.write->block);
        each.held.add(member);
      }
      settle(member);
    };
    in(member, write->through ? microseconds(300 + roll(3000)) : microseconds(20), arrived);
    transmit(member, pending);
  }

  static void apply(Machine& machine, std::size_t block, std::uint64_t value, std::uint64_t sequence, bool through) {
    Block& place = machine.disk[block];
    if (sequence < place.sequence) return;
    place.cached = value;
    place.sequence = sequence;
    if (through) place.durable = value;
  }
  static void make_durable(Machine& machine, std::size_t block) {
    machine.disk[block].durable = machine.disk[block].cached;
  }

  [[nodiscard]] bool to_peer(Machine& machine) const {
    return machine.fsm->holders().has(peer_of(machine.self)) || machine.filling;
  }

  void transmit(Member member, const Pending& pending) {
    Machine& machine = at(member);
    if (!to_peer(machine) || pending.held.has(peer_of(member))) return;
    const Member peer = peer_of(member);
    const View view = machine.fsm->view();
    deliver(member, peer, [this, member, peer, pending, view, life = at(peer).life, from_life = machine.life] {
      Machine& receiver = at(peer);
      if (receiver.life != life || at(member).life != from_life) return;  // the connection has ended
      if (view.number > receiver.fsm->view().number) {
        receiver.fsm->hear_of(view, local(receiver));
        follow(peer);
      }
      if (!receiver.fsm->takes_writes_of(member, view.number)) return;
      apply(receiver, pending.write->block, pending.write->value, pending.sequence, false);
      const auto answer = [this, member, peer, pending, view, from_life] {
        if (pending.write->through) make_durable(at(peer), pending.write->block);
        // Whoever has moved on to another primary meanwhile does not confirm any more.
        if (!at(peer).fsm->takes_writes_of(member, view.number)) return;
        deliver(peer, member, [this, member, peer, pending, from_life] {
          Machine& owner = at(member);
          if (owner.life != from_life) return;
          for (Pending& each : owner.pending) {
            if (each.sequence == pending.sequence) each.held.add(peer);
          }
          settle(member);
        });
      };
      in(peer, pending.write->through ? microseconds(300 + roll(3000)) : microseconds(20), answer);
    });
  }

  void retransmit(Member member) {
    Machine& machine = at(member);
    if (!machine.fsm->primary()) return;
    for (const Pending& pending : machine.pending) transmit(member, pending);
    if (machine.filling && machine.fsm->view().in_sync.has(peer_of(member))) machine.filling = false;
    if (machine.filling && machine.fill_said && !machine.fsm->peer_is_filled()) begin_fill(machine);
    if (!machine.filling) return;
    const Member peer = peer_of(member);
    if (machine.fill_life != at(peer).life) begin_fill(machine);  // its connection has ended
    const View view = machine.fsm->view();
    if (machine.to_fill.empty() && !machine.fill_said) end_fill(member);
    for (const std::size_t block : machine.to_fill) {
      const Block source = machine.disk[block];
      deliver(member, peer, [this, member, peer, block, source, view, life = at(peer).life, from_life = machine.life] {
        Machine& receiver = at(peer);
        if (receiver.life != life || at(member).life != from_life) return;
        if (view.number > receiver.fsm->view().number) {
          receiver.fsm->hear_of(view, local(receiver));
          follow(peer);
        }
        if (!receiver.fsm->takes_writes_of(member, view.number)) return;
        Block& place = receiver.disk[block];
        // What this node wrote under an older view does not count.
        if (place.sequence >> 32U < view.number || place.sequence <= source.sequence) {
          place = {.cached = source.cached, .durable = source.cached, .sequence = source.sequence};
        }
        deliver(peer, member, [this, member, block, source, view, from_life] {
          Machine& owner = at(member);
          if (owner.life != from_life || owner.fsm->view().number != view.number) return;
          // Written meanwhile: again.
          if (owner.disk[block].sequence == source.sequence) owner.to_fill.erase(block);
          settle(member);
        });
      });
    }
  }

  // Answers what may be answered.
  void settle(Member member) {
    Machine& machine = at(member);
    if (!machine.fsm) return;
    const Member peer = peer_of(member);
    if (machine.fsm->primary()) {
      std::erase_if(machine.pending, [&](const Pending& pending) {
        if (!complete(machine, pending)) return false;
        // Filled again when the answer did not wait for the peer.
        if (machine.filling && !pending.held.has(peer)) machine.to_fill.insert(pending.write->block);
        return true;
      });
      if (machine.draining && machine.pending.empty()) {
        machine.draining = false;
        if (machine.fsm->hand_over(local(machine))) note(fmt::format("{} hands over", name(member)));
        follow(member);
      }
    }
  }

  [[nodiscard]] bool complete(Machine& machine, const Pending& pending) {
    MemberSet needed = machine.fsm->holders();
    if (options_.bug == Bug::ack_before_peer) needed = {machine.self};
    if (options_.bug == Bug::skip_outdating && peer_unheard(machine)) needed = {machine.self};
    for (const Member member : {Member::a, Member::b}) {
      if (needed.has(member) && !pending.held.has(member)) return false;
    }
    if (!pending.held.has(machine.self)) return false;
    Write& write = *pending.write;
    if (!write.answered && !write.abandoned) {
      write.answered = true;
      ++result_.writes_acknowledged;
      acknowledged(write);
    }
    return true;
  }
  [[nodiscard]] bool peer_unheard(const Machine& machine) const {
    const Machine& peer = machines_[static_cast<std::size_t>(peer_of(machine.self))];
    return !peer.up || cut(peer.self, machine.self) || cut(machine.self, peer.self);
  }

  // --- clients: one writes a block at a time, and reads what it left
  // ------------------------------------------------------ Writes without an answer may still come while somebody has
  // them in hand.
  [[nodiscard]] static std::set<std::uint64_t> coming(const History& history) {
    std::set<std::uint64_t> values;
    for (const auto& open : history.open) {
      if (const auto write = open.lock(); write != nullptr && !write->answered) values.insert(write->value);
    }
    return values;
  }
  void acknowledged(const Write& write) {
    History& history = histories_[write.block];
    history.possible = coming(history);
    history.possible.insert(write.value);
    if (write.through) {
      history.since_through = {write.value};
    } else {
      history.since_through.push_back(write.value);
    }
  }

  void client(std::size_t block) {
    // Now and then a block is left alone for a while.
    const auto idle = chance(2) ? milliseconds(roll(4000)) : microseconds(500 + roll(40000));
    after(idle, [this, block] {
      if (finished_) return;
      const Member to = chance(50) ? Member::a : Member::b;
      // Like an initiator that fences: no write while an earlier one may still come.
      if (chance(60) && coming(histories_[block]).empty()) {
        write(block, to);
      } else {
        read(block, to);
      }
    });
  }

  void write(std::size_t block, Member to) {
    const auto write = std::make_shared<Write>();
    write->block = block;
    write->value = ++last_value_;
    write->through = chance(40);
    const std::weak_ptr<Write> watched = write;
    histories_[block].possible.insert(write->value);
    histories_[block].open.push_back(watched);
    histories_[block].since_through.push_back(write->value);
    in_or_skip(to, [this, to, write] { command(to, write); });
    wait_for(block, watched, 0);
  }
  // The client waits for its answer, and gives up when nobody can answer any more or after two seconds.
  void wait_for(std::size_t block, const std::weak_ptr<Write>& watched, int rounds) {
    after(milliseconds(5), [this, block, watched, rounds] {
      const auto write = watched.lock();
      if (write == nullptr || write->answered || rounds == 400) {
        if (write != nullptr && !write->answered) write->abandoned = true;
        client(block);
        return;
      }
      wait_for(block, watched, rounds + 1);
    });
  }

  void read(std::size_t block, Member to) {
    in_or_skip(to, [this, block, to] { try_read(block, to, 0); });
    after(milliseconds(60), [this, block] { client(block); });
  }
  void try_read(std::size_t block, Member to, int rounds) {
    Machine& machine = at(to);
    if (rounds > 8 || machine.draining || !serves(machine)) return;
    const bool busy =
        std::ranges::any_of(machine.pending, [block](const Pending& pending) { return pending.write->block == block; });
    if (busy && options_.bug != Bug::dirty_reads) {
      in(to, milliseconds(3), [this, block, to, rounds] { try_read(block, to, rounds + 1); });
      return;
    }
    const std::uint64_t value = machine.disk[block].cached;
    History& history = histories_[block];
    if (!history.possible.contains(value)) {
      violated(fmt::format("{} reads {} from block {}, which can only hold {}", name(to), value, block,
                           fmt::join(history.possible, " ")));
    }
    ++result_.reads_answered;
    history.possible = coming(history);
    history.possible.insert(value);
    std::erase_if(history.open, [](const auto& open) { return open.expired(); });
  }
  void in_or_skip(Member member, const std::function<void()>& what) {
    if (at(member).up && at(member).fsm) in(member, microseconds(50), what);
  }

  // --- what goes wrong
  // ----------------------------------------------------------------------------------------------------
  void mischief() {
    after(milliseconds(50 + roll(1500)), [this] {
      if (mended_) return;
      const Member victim = everybody[roll(options_.witness ? 3 : 2)];
      const Member other = everybody[roll(options_.witness ? 3 : 2)];
      switch (roll(10)) {
        case 0:
          stop(victim, true);
          break;
        case 1:
        case 2:
          stop(victim, false);
          break;
        case 3:
          pause(victim, milliseconds(roll(3000)));
          break;
        case 4:
          set_cut(victim, other, true);
          break;
        case 5:
          set_cut(victim, other, true);
          set_cut(other, victim, true);
          break;
        case 6:
          for (auto& row : cut_) row.fill(false);
          loss_ = chance(50) ? 0 : static_cast<unsigned>(roll(30));
          break;
        case 7:
        case 8:
          if (!at(victim).up && fenced_ != victim) start(victim);
          if (!at(other).up && fenced_ != other) start(other);
          break;
        default:
          if (at(victim).up && at(victim).fsm && at(victim).fsm->primary()) at(victim).draining = true;
          break;
      }
      if (chance(20)) fenced_.reset();  // the administrator has switched it on again
      // Power for the most part comes back.
      for (const Member member : everybody) {
        if (!at(member).up && chance(50) && fenced_ != member && (member != Member::witness || options_.witness))
          start(member);
      }
      mischief();
    });
  }
  void set_cut(Member from, Member to, bool cut) {
    if (from == to) return;
    note(fmt::format("cut {} -> {}", name(from), name(to)));
    cut_[static_cast<std::size_t>(from)][static_cast<std::size_t>(to)] = cut;
    // A second failure while the first one is not noticed yet.
    if (holds_data(from) && holds_data(to) && chance(25)) {
      after(milliseconds(roll(700)), [this, victim = chance(50) ? from : to, power = chance(50)] {
        if (!mended_) stop(victim, power);
      });
    }
  }
  void mend() {
    mended_ = true;
    note("mended");
    loss_ = 0;
    for (auto& row : cut_) row.fill(false);
    for (const Member member : everybody) {
      if (!at(member).up && (member != Member::witness || options_.witness)) start(member);
    }
  }

  // --- invariants
  // ---------------------------------------------------------------------------------------------------------
  [[nodiscard]] View view_now() const { return highest_; }
  // What a majority has voted for is decided, before anybody knows.
  [[nodiscard]] View view_in_truth() const {
    for (const Machine& one : machines_) {
      for (const Machine& other : machines_) {
        const auto& vote = one.record.accepted;
        if (&one != &other && vote && vote == other.record.accepted && vote->view.number == highest_.number + 1)
          return vote->view;
      }
    }
    return highest_;
  }

  void learned(const View& view) {
    if (view.number == 0) return;
    const auto [place, fresh] = decided_.emplace(view.number, view);
    if (fresh) {
      ++result_.views;
      const auto before = decided_.find(view.number - 1);
      if (before != decided_.end() && !may_follow(before->second, view)) {
        violated(fmt::format("{} follows {}", format_view(view), format_view(before->second)));
      }
      if (before != decided_.end() && before->second.primary != view.primary) ++result_.takeovers;
      note("decided " + format_view(view));
      // Whoever was about to be the only holder may lose power before anybody knows that it is.
      if (proposed_soundly_.contains(format_view(view))) total_loss(view);
      return;
    }
    if (place->second != view) {
      violated(fmt::format("view {} is both {} and {}", view.number, format_view(place->second), format_view(view)));
    }
  }

  void check_always() {
    int serving = 0;
    for (const Member member : {Member::a, Member::b}) {
      Machine& machine = at(member);
      if (machine.up && machine.fsm && now_ >= machine.paused_until && serves(machine)) ++serving;
    }
    if (serving > 1) violated("two nodes serve");
  }

  void check_end() {
    finished_ = true;
    run_until(now_ + seconds(5));
    int serving = 0;
    for (const Member member : {Member::a, Member::b}) {
      Machine& machine = at(member);
      if (!machine.fsm) continue;
      if (serves(machine)) ++serving;
      note(fmt::format("{} at {} waits for: {}", name(member), format_view(machine.fsm->view()),
                       machine.fsm->waits_for(local(machine))));
    }
    if (serving != 1) violated(fmt::format("{} nodes serve after everything was mended", serving));
    if (view_now().in_sync.size() != 2) violated("the pair is not whole after everything was mended");
    for (std::size_t block = 0; block < blocks; ++block) {
      if (at(Member::a).disk[block].cached != at(Member::b).disk[block].cached)
        violated(fmt::format("block {} differs", block));
    }
  }

  SimOptions options_;
  std::mt19937_64 random_;
  TimePoint begin_{std::chrono::hours(1)};
  TimePoint now_ = begin_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::uint64_t order_ = 0;
  std::array<Machine, 3> machines_;
  std::array<std::array<bool, 3>, 3> cut_{};
  unsigned loss_ = 2;
  bool mended_ = false;
  bool finished_ = false;
  std::optional<Member> fenced_;
  std::uint64_t last_value_ = 0;
  std::array<History, blocks> histories_;
  std::map<std::uint64_t, View> decided_;
  std::set<std::string> proposed_soundly_;
  View highest_{.number = 1, .primary = Member::a, .in_sync = {Member::a, Member::b}};
  std::deque<std::string> trace_;
  SimResult result_;
};

}  // namespace

SimResult simulate(const SimOptions& options) {
  return Sim(options).run();
}

}  // namespace mpath::target::replication::test
