// Tells what became different in the pair from one look at its status to the next: the lines of the decision log, and
// of the journal. So that whatever happens, and whoever causes it, is told in one place and in the same words.
//
// Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "target/cluster/status.hpp"
#include "target/config/model.hpp"

namespace mpath::target::cluster {

struct Told {
  enum class Weight : std::uint8_t { notice, warning, error } weight = Weight::notice;
  std::string what;  // belongs to the view of the status it was told of
};

class Chronicle {
 public:
  explicit Chronicle(const ClusterConfig& config) : warntime_(config.warntime) {}

  // Why the next view comes: what was commanded. What is not said here is found in the status.
  void because(std::string reason) { reason_ = std::move(reason); }
  // Oldest first; of the first look how the node starts. To be called whenever something may have changed, and every
  // warntime or so for the links.
  [[nodiscard]] std::vector<Told> look(const ClusterStatus& status);

 private:
  enum class Hearing : std::uint8_t { heard, late, dead };

  void tell_links(const ClusterStatus& status);
  void tell_members(const ClusterStatus& status);
  void tell_view(const ClusterStatus& status);
  void tell_service(const ClusterStatus& status);
  void tell_copies(const ClusterStatus& status);
  [[nodiscard]] std::string why_new_view(const ClusterStatus& status);
  [[nodiscard]] std::string what_is_lost(const ClusterStatus& status) const;
  [[nodiscard]] std::string silence(const ClusterStatus& status) const;
  void tell(Told::Weight weight, std::string what) { lines_.push_back({weight, std::move(what)}); }

  std::chrono::milliseconds warntime_;
  std::optional<ClusterStatus> last_;
  std::map<std::string, Hearing> hearing_;  // by link
  std::string reason_;
  std::vector<Told> lines_;
};

}  // namespace mpath::target::cluster
