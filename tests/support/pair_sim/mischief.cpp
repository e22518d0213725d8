#include "tests/support/pair_sim/mischief.hpp"

#include "tests/support/pair_sim/machine.hpp"

namespace mpath::target::replication::test {

using std::chrono::milliseconds;

// Where the pair may split, some runs have nothing that splits it: they are held to everything.
Mischief::Mischief(Pair& pair) : pair_(pair) {
  if (pair_.may_split()) parts_ = pair_.world.chance(70);
}

void Mischief::start() {
  World& world = pair_.world;
  world.after(milliseconds(50 + world.roll(1500)), [this] {
    if (pair_.mended) return;
    strike();
    repair();
    start();
  });
}

// Power for the most part comes back.
void Mischief::repair() {
  World& world = pair_.world;
  if (world.chance(20)) pair_.fenced.reset();  // the administrator has switched it on again
  if (pair_.split_is_found() && world.chance(30)) pair_.resolve_split(world.chance(50) ? Member::a : Member::b);
  for (const Member member : everybody) {
    if (!world.up(member) && world.chance(50) && pair_.fenced != member && pair_.takes_part(member))
      pair_.at(member).start();
  }
}

Member Mischief::some_member() {
  return everybody[pair_.world.roll(pair_.options.witness ? 3 : 2)];
}

void Mischief::strike() {
  World& world = pair_.world;
  const Member victim = some_member();
  const Member other = some_member();
  Machine& hit = pair_.at(victim);
  switch (world.roll(11)) {
    case 0:
      return hit.stop(true);
    case 1:
    case 2:
      return kill(victim);
    case 3: {
      const bool deaf = world.chance(50);
      return world.pause(victim, milliseconds(world.roll(3000)), deaf);
    }
    case 4:
      return cut(victim, other);
    case 5:
      cut(victim, other);
      return cut(other, victim);
    case 6:
      world.join_links();
      return lose(world.chance(50) ? 0 : static_cast<unsigned>(world.roll(30)));
    case 7:
    case 8:
      for (const Member member : {victim, other}) {
        if (!world.up(member) && pair_.fenced != member) pair_.at(member).start();
      }
      return;
    case 9:
      if (world.chance(30)) hit.fail_disk();
      return;
    default:
      return hit.drain();
  }
}

void Mischief::cut(Member from, Member to) {
  World& world = pair_.world;
  if (from == to || !parts_) return;
  if (holds_data(from) && holds_data(to)) pair_.parted = true;
  world.note("cut {} -> {}", name(from), name(to));
  world.set_cut(from, to);
  // A second failure while the first one is not noticed yet.
  if (!holds_data(from) || !holds_data(to) || !world.chance(25)) return;
  const Member victim = world.chance(50) ? from : to;
  const bool power = world.chance(50);
  const Duration soon = milliseconds(world.roll(700));
  world.after(soon, [this, victim, power] {
    if (!pair_.mended) pair_.at(victim).stop(power);
  });
}

void Mischief::kill(Member victim) {
  if (pair_.options.protocol != Protocol::c && holds_data(victim) && pair_.world.chance(40))
    return pair_.kill_both(victim);
  pair_.at(victim).stop(false);
}

void Mischief::lose(unsigned percent) {
  if (!parts_) return;
  // Six in a row may be lost.
  if (percent > 5) pair_.parted = true;
  pair_.world.set_loss(percent);
}

void Mischief::mend() {
  World& world = pair_.world;
  pair_.mended = true;
  world.note("mended");
  world.set_loss(0);
  world.join_links();
  for (const Member member : everybody) {
    Machine& machine = pair_.at(member);
    if (machine.media().disk.fails) machine.stop(false);
    if (!machine.up() && pair_.takes_part(member)) machine.start();
  }
}

}  // namespace mpath::target::replication::test
