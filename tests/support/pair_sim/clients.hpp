// The initiators of a simulated pair: one writes a block at a time and reads what it left; one reads what others write;
// one changes the SCSI state;
// three take turns at one block by COMPARE AND WRITE.
#pragma once

#include <cstdint>
#include <memory>

#include "tests/support/pair_sim/pair.hpp"

namespace mpath::target::replication::test {

class Clients {
 public:
  explicit Clients(Pair& pair) : pair_(pair) {}
  void start();
  // Nothing is begun any more.
  void finish() { finished_ = true; }

 private:
  void client(std::size_t block);
  void write(std::size_t block, Member to);
  void wait_for(std::size_t block, const std::weak_ptr<Write>& watched, int rounds);
  void read(std::size_t block, Member to);
  void onlooker();
  void flusher();
  void cell_client(std::uint64_t known);
  void wait_for_cell(const std::shared_ptr<CellOp>& op, int rounds);
  void state_client();
  void use_state(Member to);
  [[nodiscard]] Member some_node() { return pair_.world.chance(50) ? Member::a : Member::b; }

  Pair& pair_;
  bool finished_ = false;
  std::uint32_t last_generation_ = 0;
};

}  // namespace mpath::target::replication::test
