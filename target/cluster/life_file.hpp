// What a member remembers of its lives: so that each has a number of its own, and knows whether the one before may have
// lost what it had acknowledged.
//
// A life is **suspect** when an earlier one ended without order and its memory with it (another boot, or just its
// process while it had in hand what was acknowledged), or was suspect and has not been filled since
// (target/replication/INVARIANTS.md). Who cannot tell is suspect, and so is who joins:
// the others may remember a member of that name which held everything.
//
// Threads: blocks; one thread at a time (offload()). One process: whoever holds the vote record.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <string>

#include "base/result.hpp"

namespace mpath::target::cluster {

struct LifeCircumstances {
  bool record_exists = false;    // this member may have voted and acknowledged before
  bool joins = false;            // its copies are to be filled before they count, whatever the others remember of it
  std::string boot_id;           // empty: cannot be known, which is taken for another boot
  std::uint64_t wall_clock = 0;  // microseconds
};

class LifeFile {
 public:
  // Begins a life; it is on the medium when this returns, so that the next one knows of it. The error is one line.
  [[nodiscard]] static std::expected<LifeFile, std::string> begin(const std::filesystem::path& path,
                                                                  const LifeCircumstances& now);

  // Higher than that of every life before, whatever the clock says.
  [[nodiscard]] std::uint64_t incarnation() const { return life_.incarnation; }
  [[nodiscard]] bool suspect() const { return life_.suspect; }
  // Why, for the log; empty when it is not.
  [[nodiscard]] const std::string& reason() const { return reason_; }

  // What was acknowledged may be in the memory of this process only (protocols A and B).
  [[nodiscard]] bool in_hand() const { return life_.in_hand; }
  [[nodiscard]] error_code note_in_hand(bool in_hand);
  // It was filled, or there is no better copy.
  [[nodiscard]] error_code clear_suspect();
  // All that was acknowledged is on the medium: losing power from here on loses nothing.
  [[nodiscard]] error_code end();

 private:
  struct Life {
    std::uint64_t incarnation = 0;
    std::string boot_id;
    bool ended = false;
    bool suspect = false;
    bool in_hand = false;
  };
  [[nodiscard]] static std::string format(const Life& life);
  [[nodiscard]] static Result<Life> parse(const std::string& text);
  [[nodiscard]] static std::string why_suspect(const Result<Life>& before, const LifeCircumstances& now);
  LifeFile(std::filesystem::path path, Life life, std::string reason)
      : path_(std::move(path)), life_(std::move(life)), reason_(std::move(reason)) {}
  [[nodiscard]] error_code write(const Life& life);

  std::filesystem::path path_;
  Life life_;
  std::string reason_;
};

}  // namespace mpath::target::cluster
