#include "tests/support/pair_sim/clients.hpp"

#include <algorithm>

#include "tests/support/pair_sim/machine.hpp"

namespace mpath::target::replication::test {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr Duration way = microseconds(50);
constexpr int rounds_max = 400;  // of 5 ms
constexpr int cell_clients = 3;
constexpr int cell_rounds_max = 15;  // of 20 ms

}  // namespace

void Clients::start() {
  for (std::size_t block = 0; block < blocks; ++block) client(block);
  state_client();
  onlooker();
  if (pair_.options.protocol != Protocol::c) flusher();
  for (int each = 0; each < cell_clients; ++each) cell_client(0);
}

// ---- blocks --------------------------------------------------------------------------------------------------------

void Clients::client(std::size_t block) {
  World& world = pair_.world;
  // Now and then a block is left alone for a while.
  const auto idle = world.chance(2) ? milliseconds(world.roll(4000)) : microseconds(500 + world.roll(40000));
  world.after(idle, [this, block] {
    if (finished_) return;
    const Member to = some_node();
    // Like an initiator that fences: no write while an earlier one may still come.
    if (pair_.world.chance(60) && pair_.history.settled(block)) {
      write(block, to);
    } else {
      read(block, to);
    }
  });
}

void Clients::write(std::size_t block, Member to) {
  World& world = pair_.world;
  auto write = pair_.history.begin(block, world.chance(40), world.now());
  const std::weak_ptr<Write> watched = write;
  if (world.up(to)) {
    world.in(to, way, [&node = pair_.at(to), write = std::move(write)] {
      if (node.takes_commands()) node.copy()->write(write);
    });
  }
  wait_for(block, watched, 0);
}

// The client waits for its answer, and gives up when nobody can answer any more or after two seconds.
void Clients::wait_for(std::size_t block, const std::weak_ptr<Write>& watched, int rounds) {
  pair_.world.after(milliseconds(5), [this, block, watched, rounds] {
    const auto write = watched.lock();
    if (write == nullptr || write->answered || rounds == rounds_max) {
      if (write != nullptr && !write->answered) write->abandoned = true;
      return client(block);
    }
    wait_for(block, watched, rounds + 1);
  });
}

void Clients::read(std::size_t block, Member to) {
  World& world = pair_.world;
  if (world.up(to)) {
    world.in(to, way, [&node = pair_.at(to), block] {
      if (node.takes_commands()) node.copy()->read(block);
    });
  }
  world.after(milliseconds(60), [this, block] { client(block); });
}

void Clients::onlooker() {
  World& world = pair_.world;
  world.after(milliseconds(1 + world.roll(30)), [this] {
    if (finished_) return;
    const Member to = some_node();
    const std::size_t block = pair_.world.roll(blocks);
    if (pair_.world.up(to)) {
      pair_.world.in(to, way, [&node = pair_.at(to), block] {
        if (node.takes_commands()) node.copy()->read(block);
      });
    }
    onlooker();
  });
}

void Clients::flusher() {
  World& world = pair_.world;
  world.after(milliseconds(1 + world.roll(60)), [this] {
    if (finished_) return;
    const Member to = some_node();
    if (pair_.world.up(to)) {
      pair_.world.in(to, way, [&node = pair_.at(to)] {
        if (node.takes_commands()) node.copy()->flush();
      });
    }
    flusher();
  });
}

// ---- the cell ------------------------------------------------------------------------------------------------------

// `known`: what this client believes to be there.
void Clients::cell_client(std::uint64_t known) {
  World& world = pair_.world;
  world.after(microseconds(1000 + world.roll(80000)), [this, known] {
    if (finished_) return;
    World& world_now = pair_.world;
    const Member to = some_node();
    const auto op = pair_.cell_history.begin(known, world_now.chance(70), world_now.now());
    if (world_now.up(to)) {
      world_now.in(to, way, [&node = pair_.at(to), op] {
        if (node.takes_commands()) node.copy()->use_cell(op);
      });
    }
    wait_for_cell(op, 0);
  });
}

void Clients::wait_for_cell(const std::shared_ptr<CellOp>& op, int rounds) {
  pair_.world.after(milliseconds(20), [this, op, rounds] {
    if (!op->answered() && rounds < cell_rounds_max) return wait_for_cell(op, rounds + 1);
    // Without an answer it looks what became of it.
    std::uint64_t known = op->expected;
    if (op->answered()) known = op->read.value_or(op->value.value_or(op->expected));
    cell_client(known);
  });
}

// ---- the SCSI state: it only ever grows ----------------------------------------------------------------------------

void Clients::state_client() {
  World& world = pair_.world;
  world.after(milliseconds(5 + world.roll(200)), [this] {
    if (finished_) return;
    const Member to = some_node();
    if (pair_.world.up(to) && pair_.at(to).copy() != nullptr) {
      pair_.world.in(to, way, [this, to] { use_state(to); });
    }
    state_client();
  });
}

void Clients::use_state(Member to) {
  if (!pair_.at(to).takes_commands()) return;
  Copy& copy = *pair_.at(to).copy();
  const std::uint32_t known = copy.state().reservations.generation;
  pair_.history.each_side(to, pair_.at_old_view(to), [&](History& side) {
    const std::uint32_t before = side.generation();
    if (!side.state_seen(known))
      pair_.world.violated(fmt::format("{} has the state {}, after {} was known", name(to), known, before));
  });
  if (copy.changing_state() || pair_.world.chance(50)) return;
  LuState next = copy.state();
  const std::uint32_t generation = next.reservations.generation = ++last_generation_;
  copy.change_state(next, [this, to, generation, begun = pair_.world.now()] {
    pair_.history.each_side(to, pair_.at_old_view(to), [&](History& side) {
      side.state_acknowledged(generation);
      side.barrier(begun);
    });
    ++pair_.result.states_acknowledged;
  });
}

}  // namespace mpath::target::replication::test
