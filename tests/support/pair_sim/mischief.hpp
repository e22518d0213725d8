// What goes wrong around a simulated pair, until it is mended.
#pragma once

#include "tests/support/pair_sim/pair.hpp"

namespace mpath::target::replication::test {

class Mischief {
 public:
  explicit Mischief(Pair& pair);
  void start();
  void mend();

 private:
  void strike();
  void repair();
  void cut(Member from, Member to);
  void kill(Member victim);
  void lose(unsigned percent);
  [[nodiscard]] Member some_member();

  Pair& pair_;
  bool parts_ = true;  // the nodes may lose each other though both are well
};

}  // namespace mpath::target::replication::test
